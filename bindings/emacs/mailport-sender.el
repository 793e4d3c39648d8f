;;; mailport-sender.el --- The Emacs that sends one letter  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; This runs in a child of the Emacs with `mailport-send-mode', in batch mode.  It
;; gets a line with the letter on its standard input, and sends the letter by
;; smtpmail.  It records every step in the outbox itself, so that it can finish
;; although its parent has ended.
;;
;; The exit status is 0 if the outbox says what became of the letter, and 75 if
;; another Emacs is sending.

;;; Code:

(require 'cl-lib)
(require 'mailport-send)

(declare-function mailport-module-lock "mailport-module")

(defvar auth-source-do-cache)
(defvar smtpmail-retries)

(defun mailport-sender--read ()
  "Read a line from the standard input, and return the value in it."
  (let* ((inhibit-interaction nil)
         (line (read-from-minibuffer "")))
    (read (decode-coding-string (base64-decode-string line) 'utf-8-emacs))))

(defun mailport-sender--request (value)
  "Send VALUE to the parent in one line."
  (princ (format "mailport-request %s\n"
                 (base64-encode-string
                  (encode-coding-string (prin1-to-string value) 'utf-8-emacs) t))
         #'external-debugging-output))

(defun mailport-sender--auth (&rest spec)
  "Return what the parent's auth-source has for SPEC."
  (mailport-sender--request (cons 'auth spec))
  (let ((found (condition-case nil
                   (mailport-sender--read)
                 ;; The parent has ended.  Another one will send the letter.
                 (error (kill-emacs 1)))))
    (when (or (eq found 'ask) (and (null found) (plist-get spec :create)))
      (signal 'mailport-sender-question
              (list (format "the password of %s%s is needed: press s"
                            (if (plist-get spec :user) (format "%s at " (plist-get spec :user)) "")
                            (plist-get spec :host)))))
    found))

(define-error 'mailport-sender-question "A question has to be answered" 'inhibited-interaction)

(defun mailport-sender--forget (&rest spec)
  "Tell the parent to forget what it knows for SPEC."
  (mailport-sender--request (cons 'forget spec)))

(defun mailport-sender--nsm (host port _status _what _problems message &rest arguments)
  "Signal an error with the question about HOST and PORT.
It is MESSAGE with ARGUMENTS."
  (signal 'mailport-sender-question
          (list (format "%s:%s: %s: press s" host port
                        (string-trim (replace-regexp-in-string
                                      "[ \t\n]+" " " (apply #'format-message message arguments)))))))

(defun mailport-sender--set (variables)
  "Set VARIABLES, an alist."
  (pcase-dolist (`(,name . ,value) variables)
    (set-default name value)))

(defun mailport-sender--response (read process)
  "Call READ with PROCESS, and signal an error after 10 minutes.
That is the longest time of RFC 5321 section 4.5.3.2."
  (with-timeout (600 (error "The server has not replied for 10 minutes"))
    (funcall read process)))

(defun mailport-sender-main ()
  "Send the letter that the parent names, and end."
  (let* ((job (mailport-sender--read))
         (mailport-outbox-directory (plist-get job :directory))
         (id (plist-get job :id)))
    (setq inhibit-message t
          ;; Where something would ask, it signals an error.
          inhibit-interaction t
          load-path (plist-get job :load-path)
          kill-emacs-hook nil)
    (require 'auth-source)
    (require 'smtpmail)
    (require 'message)
    (mapc #'load (plist-get job :libraries))
    (mailport-sender--set (plist-get job :variables))
    (setq mailport-verbose nil)
    (when (plist-get job :dial)
      (mailport-mode 1))
    (mailport--load)
    (require 'nsm)
    (advice-add 'nsm-query :override #'mailport-sender--nsm)
    (advice-add 'auth-source-search :override #'mailport-sender--auth)
    (advice-add 'auth-source-forget+ :override #'mailport-sender--forget)
    (advice-add 'smtpmail-read-response :around #'mailport-sender--response)
    (let ((lock (mailport-module-lock (mailport--outbox-file "send" ".lock") nil)))
      (unless (user-ptrp lock)
        (kill-emacs 75))
      ;; Only the holder of the lock sends.  So this is of an Emacs that has crashed.
      (mailport--outbox-set id '(data) :state 'uncertain
                            :reason "the Emacs that sent it ended before the server's last reply")
      (let ((letter (mailport--outbox-read id)))
        (when (memq (plist-get letter :state) '(queued sending))
          (setq letter (mailport--outbox-set
                        id '(queued sending) :state 'sending :reason nil :not-before nil))
          (condition-case nil
              (mailport--transmit letter)
            (error nil))))
      (kill-emacs 0))))

(provide 'mailport-sender)

;;; mailport-sender.el ends here
