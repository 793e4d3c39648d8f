;;; mailport-mew.el --- Mew falls back again, without waiting  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; The fallback from the Submission port to the SMTP port was written for Mew.
;; Mew did it over IPv4 alone, waited ten seconds, and waited again, blocking
;; Emacs, for the second port; since 6.11 it does it no more.  With
;;
;;     (mailport-mew-mode 1)
;;
;; Mew 6.8 to 6.11 falls back over both families, and never blocks.
;;
;; Mew opens every connection by its own `mew-open-network-stream'.  For one
;; without TLS it is given a process at once, which is silent until the dial is
;; connected.  Those of Mew 6.10 and later with TLS go through
;; `open-network-stream', and are dialled there, as `mailport-mode' does.
;; Connections through SSH or stunnel are made by these, and left to Mew.

;;; Code:

(require 'mailport)

(defvar mew-use-submission)
(declare-function mew-smtp-sentinel "mew-smtp")
(declare-function mew-smtp-ssh-server "mew-config")
(declare-function mew-smtp-ssl "mew-config")

(defcustom mailport-mew-plan "587:cleartext,25:cleartext"
  "The plan for connections that Mew opens without TLS.
It has no TLS, for Mew speaks none there.  Hosts that
`mailport-plans' names have theirs."
  :type 'string
  :group 'mailport)

(defun mailport-mew--plan (host port)
  "Return the plan for PORT of HOST, or nil."
  (let* ((number (mailport--port port))
         (custom (and number (mailport--custom host number))))
    (cond (custom (cdr custom))
          ((memq number '(25 587)) mailport-mew-plan))))

(defun mailport-mew--broken (process error)
  "Tell Mew that PROCESS has failed, by ERROR."
  ;; It looks for the word, and cuts the last character off.
  (mew-smtp-sentinel process (format "%s - failed\n" (error-message-string error))))

(defun mailport-mew--promise (plan name buffer server port)
  "Return a process NAME for BUFFER that will lead to PORT of SERVER by PLAN."
  (unless (equal '("none") (delete-dups (mailport--modes plan)))
    (mailport--misuse "The plan %s for %s demands TLS, and Mew speaks none there" plan server))
  (mailport--promise plan name server port #'mailport-mew--broken :buffer buffer))

(defun mailport-mew--dial (open arguments)
  "Call OPEN with ARGUMENTS, and have the stream that it opens dialled."
  (if mailport-mode
      (apply open arguments)
    (advice-add 'open-network-stream :around #'mailport--around)
    (unwind-protect (apply open arguments)
      (unless mailport-mode
        (advice-remove 'open-network-stream #'mailport--around)))))

(defun mailport-mew--open (open name buffer server port &rest more)
  "Return a process NAME for BUFFER that will lead to PORT of SERVER.
Call OPEN with that and MORE where this is not SMTP.  What follows in MORE
since Mew 6.10 is the protocol, and whether TLS is used."
  (pcase-let* ((`(,protocol ,tls) more)
               (plan (and (stringp server) (not tls)
                          (mailport-mew--plan server port))))
    (cond ((not (memq protocol '(nil smtp))) (apply open name buffer server port more))
          (tls (mailport-mew--dial open (append (list name buffer server port) more)))
          ((not plan) (apply open name buffer server port more))
          (t (let ((process (mailport-mew--promise plan name buffer server port)))
               ;; Since 6.10, a stream and its properties.
               (if more (list process :type 'plain) process))))))

(defun mailport-mew--once (function case &rest more)
  "Call FUNCTION with CASE and MORE, without Mew's own way to fall back.
It is left to connections through SSH and stunnel, which mailport does not
make."
  (let ((mew-use-submission (and (bound-and-true-p mew-use-submission)
                                 (or (mew-smtp-ssl case) (mew-smtp-ssh-server case)))))
    (apply function case more)))

(defconst mailport-mew--advice
  '((mew-open-network-stream . mailport-mew--open)
    ;; Both ask whether Mew falls back.
    (mew-smtp-send-message . mailport-mew--once)
    (mew-smtp-info-name . mailport-mew--once))
  "Functions of Mew, and what is around them while the mode is on.")

;;;###autoload
(define-minor-mode mailport-mew-mode
  "Have Mew fall back from the Submission port to the SMTP port.
It does so over both families, and Emacs never waits."
  :global t
  :group 'mailport
  (pcase-dolist (`(,function . ,around) mailport-mew--advice)
    (advice-remove function around))
  (when mailport-mew-mode
    (setq mailport-mew-mode nil)
    (mailport--prepare)
    (setq mailport-mew-mode t)
    (pcase-dolist (`(,function . ,around) mailport-mew--advice)
      (advice-add function :around around))))

(provide 'mailport-mew)

;;; mailport-mew.el ends here
