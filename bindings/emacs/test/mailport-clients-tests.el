;;; mailport-clients-tests.el --- Mail clients whose letters are queued  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Run by `make test'.  Each client composes a letter as its users do, sends it, and
;; files its copy.  mu4e and notmuch are Debian's.

;;; Code:

(require 'mailport-send-tests)
(require 'rfc2047)

(dolist (pattern '("/usr/share/emacs/site-lisp/elpa*/mu4e*" "/usr/share/emacs/site-lisp/mu4e"
                   "/usr/share/emacs/site-lisp/elpa*/notmuch*"
                   "/usr/share/emacs/site-lisp/elpa*/async*"))
  (dolist (directory (file-expand-wildcards pattern))
    (add-to-list 'load-path directory)))

(defvar mu4e-trash-folder)
(defvar mu4e-refile-folder)
(defvar mu4e-confirm-quit)
(defvar mu4e-sent-folder)
(defvar mu4e-drafts-folder)
(defvar mu4e-mu-home)
(defvar notmuch-fcc-dirs)
(declare-function mu4e "mu4e")
(declare-function mu4e-quit "mu4e")
(declare-function mu4e-running-p "mu4e")
(declare-function mu4e-server-properties "mu4e-helpers")

(defmacro mailport-tests--composing (&rest body)
  "Evaluate BODY in a new directory, with a server and an outbox."
  (declare (indent 0) (debug t))
  `(mailport-tests--with-outbox
     (save-window-excursion
       (let* ((process-environment (cons (concat "HOME=" folder) process-environment))
              (message-directory folder) (message-auto-save-directory nil)
              (mail-interactive t) (message-confirm-send nil)
              (message-kill-buffer-on-exit t) (mail-self-blind nil)
              (copies (expand-file-name "copies" folder))
              (inhibit-message t) (noninteractive nil))
         (write-region "" nil copies nil 'silent)
         ,@body))))

(defun mailport-tests--compose (agent copies send)
  "Compose a letter with the mail client AGENT, and SEND it.
COPIES is a file for a copy, or nil."
  (let ((mail-user-agent agent))
    (compose-mail "you@example.test" "Composed" (and copies (list (cons "Fcc" copies)))))
  (goto-char (point-max))
  (insert "Hello\n")
  (let ((buffer (current-buffer)) (before (float-time)))
    (funcall send)
    (should (> 5 (- (float-time) before)))
    (should-not (mailport-tests--commands-p))
    buffer))

(defun mailport-tests--commands-p ()
  "Whether anything has been sent to the server."
  mailport-tests--commands)

(defun mailport-tests--one-copy-p (file)
  "Whether FILE has the letter once."
  (with-temp-buffer
    (insert-file-contents file)
    (= 1 (how-many "^Subject: .*Composed" (point-min)))))

(ert-deftest mailport-queues-letters-of-message-mode-and-gnus ()
  (dolist (agent '(message-user-agent gnus-user-agent))
    (ert-info ((symbol-name agent))
      (mailport-tests--composing
        (require 'gnus-msg)
        (let ((buffer (mailport-tests--compose agent copies #'message-send-and-exit)))
          ;; For the mail client it is sent: the copy is filed, and the draft is gone.
          (should-not (buffer-live-p buffer))
          (should (mailport-tests--one-copy-p copies)))
        (mailport-tests--until #'mailport-tests--outbox-empty-p)
        (should (mailport-tests--one-copy-p copies))
        (should (= 1 (length mailport-tests--letters)))
        (should-not (string-match-p "Fcc" (plist-get (car mailport-tests--letters) :text)))))))

(ert-deftest mailport-edits-a-letter-again-without-a-second-copy ()
  (mailport-tests--composing
    (setq mailport-tests--reply (lambda (client line)
                                  (when (string-prefix-p "RCPT" line)
                                    (process-send-string client "571 refused\r\n")
                                    t)))
    (let ((mail-user-agent 'message-user-agent))
      (compose-mail "you@example.test" "Composed: Grüße" (list (cons "Fcc" copies))))
    (goto-char (point-max))
    (insert "Straße\n")
    (message-send-and-exit)
    (mailport-tests--until-state 'failed)
    (setq mailport-tests--reply #'ignore)
    (mailport-outbox)
    (goto-char (point-min))
    (mailport-outbox-edit)
    (should (string-match-p "^Subject: Composed: Grüße$" (buffer-string)))
    (should (string-match-p "^Straße$" (buffer-string)))
    (message-send-and-exit)
    (mailport-tests--until #'mailport-tests--outbox-empty-p)
    (should (mailport-tests--one-copy-p copies))
    (pcase-let ((`(,letter) mailport-tests--letters))
      (with-temp-buffer
        (insert (plist-get letter :text))
        (rfc2047-decode-region (point-min) (point-max))
        (goto-char (point-min))
        (should (search-forward "Subject: Composed: Grüße\n" nil t))))))

(ert-deftest mailport-queues-letters-of-rmail ()
  (mailport-tests--composing
    (let ((buffer (mailport-tests--compose 'sendmail-user-agent copies #'mail-send)))
      (should (mailport-tests--one-copy-p copies))
      (with-current-buffer buffer (set-buffer-modified-p nil))
      (kill-buffer buffer))
    (mailport-tests--until #'mailport-tests--outbox-empty-p)
    (should (= 1 (length mailport-tests--letters)))))

(ert-deftest mailport-queues-letters-of-notmuch ()
  (mailport-tests--composing
    (require 'notmuch)
    (let* ((notmuch-fcc-dirs nil)
           (buffer (mailport-tests--compose 'notmuch-user-agent nil #'message-send-and-exit)))
      (should-not (buffer-live-p buffer)))
    (mailport-tests--until #'mailport-tests--outbox-empty-p)
    (should (= 1 (length mailport-tests--letters)))))

(ert-deftest mailport-queues-letters-of-mu4e ()
  (mailport-tests--composing
    (require 'mu4e)
    (let* ((maildir (expand-file-name "Maildir" folder))
           (mu4e-mu-home (expand-file-name "mu" folder))
           (mu4e-sent-folder "/sent") (mu4e-drafts-folder "/drafts")
           (mu4e-trash-folder "/trash") (mu4e-refile-folder "/sent") (mu4e-confirm-quit nil)
           (files (lambda (name)
                    (append (file-expand-wildcards (expand-file-name (concat name "/cur/*")
                                                                     maildir))
                            (file-expand-wildcards (expand-file-name (concat name "/new/*")
                                                                     maildir))))))
      (dolist (name '("sent" "drafts" "trash"))
        (dolist (part '("cur" "new" "tmp"))
          (make-directory (expand-file-name (concat name "/" part) maildir) t)))
      (should (= 0 (call-process "mu" nil nil nil "init" "--muhome" mu4e-mu-home
                                 "--maildir" maildir)))
      (unwind-protect
          (progn
            (mu4e t)
            (mailport-tests--until #'mu4e-running-p)
            (mailport-tests--until #'mu4e-server-properties)
            (let ((buffer (progn (funcall (get 'mu4e-user-agent 'composefunc)
                                          "you@example.test" "Composed")
                                 (mailport-tests--until
                                  (lambda () (derived-mode-p 'mu4e-compose-mode)))
                                 (current-buffer))))
              (goto-char (point-max))
              (insert "Hello\n")
              (message-send-and-exit)
              (mailport-tests--until (lambda () (not (buffer-live-p buffer)))))
            (mailport-tests--until (lambda () (= 1 (length (funcall files "sent")))))
            (mailport-tests--until (lambda () (not (funcall files "drafts"))))
            (mailport-tests--until #'mailport-tests--outbox-empty-p)
            (should (= 1 (length mailport-tests--letters)))
            (should (= 1 (length (funcall files "sent")))))
        (mu4e-quit)))))

(defvar async-smtpmail-before-send-hook)
(declare-function async-smtpmail-send-it "smtpmail-async")

(ert-deftest mailport-dials-in-the-emacs-of-smtpmail-async ()
  (mailport-tests--with-outbox
    (require 'smtpmail-async)
    (let* ((open smtpmail-smtp-service)
           (smtpmail-smtp-service (mailport-tests--refused))
           (async-smtpmail-before-send-hook
            ;; The README has this, but for the plan.
            (list `(lambda ()
                     (add-to-list 'load-path ,(file-name-directory (locate-library "mailport")))
                     (require 'mailport)
                     (setq mailport-cache nil
                           mailport-plans '(("127.0.0.1" . ,(format "%d:cleartext,%d:cleartext"
                                                                    smtpmail-smtp-service open))))
                     (mailport-mode 1)))))
      (with-temp-buffer
        (insert "From: me@example.test\nTo: you@example.test\nSubject: Async\n"
                mail-header-separator "\nHello\n")
        (async-smtpmail-send-it))
      (mailport-tests--until (lambda () mailport-tests--letters))
      (should-not (mailport--outbox-letters)))))

(provide 'mailport-clients-tests)

;;; mailport-clients-tests.el ends here
