;;; mailport-send-tests.el --- Letters are sent in the background  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Run by `make test'.  Each test's name is a claim.  The server is in this Emacs,
;; and stops wherever a test wants it to.

;;; Code:

(require 'benchmark)
(require 'mailport-tests)
(require 'mailport-close-tests)
(require 'mailport-send)
(require 'message)
(require 'smtpmail)
(require 'feedmail)

;;;; A server

(defvar mailport-tests--letters nil "What the server has accepted, the latest first.")
(defvar mailport-tests--commands nil "The commands that the server got, the latest first.")
(defvar mailport-tests--reply #'ignore
  "A function of a client and a command that may reply in another way.
It returns non-nil if it has.  A line of a message follows the word \"text\".")

(defun mailport-tests--smtp-input (client text)
  "Handle TEXT from CLIENT as an SMTP server does."
  (let ((buffer (concat (process-get client 'rest) text)))
    (while (and (process-live-p client) (string-match "\\`\\([^\n]*\\)\r\n" buffer))
      (let ((line (match-string 1 buffer)))
        (setq buffer (substring buffer (match-end 0)))
        (mailport-tests--smtp-line client line)))
    (process-put client 'rest buffer)))

(defun mailport-tests--smtp-line (client line)
  "Handle LINE from CLIENT."
  (cond ((and (process-get client 'data) (not (equal line ".")))
         (unless (funcall mailport-tests--reply client (concat "text " line))
           (process-put client 'data (cons line (process-get client 'data)))))
        ((progn (push line mailport-tests--commands)
                (funcall mailport-tests--reply client line)))
        ((equal line ".")
         (push (list :text (string-join (cdr (reverse (process-get client 'data))) "\n")
                     :envelope (reverse (process-get client 'envelope)))
               mailport-tests--letters)
         (process-put client 'data nil)
         (process-send-string client "250 taken\r\n"))
        ((equal line "DATA")
         (process-put client 'data (list "DATA"))
         (process-send-string client "354 go on\r\n"))
        ((string-prefix-p "QUIT" line)
         (process-send-string client "221 bye\r\n")
         (delete-process client))
        ((string-prefix-p "EHLO" line)
         (process-send-string client "250-here\r\n250 AUTH PLAIN\r\n"))
        ((string-prefix-p "AUTH" line)
         (process-send-string client "235 you are in\r\n"))
        (t (when (string-match-p "\\`\\(?:MAIL\\|RCPT\\)" line)
             (process-put client 'envelope (cons line (process-get client 'envelope))))
           (process-send-string client "250 ok\r\n"))))

(defun mailport-tests--smtp-server ()
  "Return the port of an SMTP server without TLS."
  (mailport-tests--port
   (mailport-tests--server
    (lambda (client) (process-send-string client "220 hello\r\n"))
    #'mailport-tests--smtp-input)))

(defmacro mailport-tests--with-outbox (&rest body)
  "Evaluate BODY with `mailport-send-mode', an empty outbox, and a server."
  (declare (indent 0) (debug t))
  `(mailport-tests--with
     (let* ((folder (file-name-as-directory (make-temp-file "mailport-tests-" t)))
            (mailport-outbox-directory (expand-file-name "outbox/" folder))
            (mailport-outbox-retry-delay nil)
            (auth-sources (list (expand-file-name "authinfo" folder)))
            (auth-source-do-cache nil)
            (nsm-settings-file (expand-file-name "nsm" folder))
            (nsm-permanent-host-settings nil)
            (mailport-tests--letters nil) (mailport-tests--commands nil)
            (mailport-tests--reply #'ignore)
            (smtpmail-smtp-server "127.0.0.1")
            (smtpmail-smtp-service (mailport-tests--smtp-server))
            (smtpmail-stream-type 'plain)
            (smtpmail-servers-requiring-authorization nil)
            (user-mail-address "me@example.test")
            (message-required-mail-headers '(From Subject Date Message-ID))
            (send-mail-function #'smtpmail-send-it)
            (message-send-mail-function #'smtpmail-send-it)
            (message-interactive t)
            (warning-minimum-log-level :emergency)
            (warning-minimum-level :emergency))
       (setq mailport-plans nil)
       (mailport-send-mode 1)
       (unwind-protect
           (progn ,@body)
         (mailport-send-mode -1)
         (when mailport--outbox-timer
           (cancel-timer mailport--outbox-timer))
         (when (process-live-p mailport--sender)
           (set-process-sentinel mailport--sender #'ignore)
           (delete-process mailport--sender))
         (setq mailport--sender nil)
         (delete-directory folder t)))))

(defun mailport-tests--send (subject &optional body headers)
  "Send a letter with SUBJECT, BODY and HEADERS by message-mode."
  (with-temp-buffer
    (message-mode)
    (insert "To: you@example.test\nSubject: " subject "\n" (or headers "")
            mail-header-separator "\n" (or body "Hello\n.\n..\nend\n"))
    (let ((noninteractive nil) (inhibit-message t))
      (message-send-mail))))

(defun mailport-tests--outbox-empty-p ()
  "Whether every letter has been sent."
  (and (null mailport--sender)
       (null (mailport--outbox-letters))))

(defun mailport-tests--state (&optional property)
  "Return the state or another PROPERTY of the first letter in the outbox."
  (plist-get (car (mailport--outbox-letters)) (or property :state)))

(defun mailport-tests--until-state (state)
  "Wait until the first letter has STATE, and is not being sent."
  (with-timeout (120 (ert-fail (list "Never" state (mailport--outbox-letters)
                                    mailport-tests--commands)))
    (while (not (and (eq state (mailport-tests--state))
                     (null mailport--sender)))
      (accept-process-output nil 0.02))))

;;;; Sending

(ert-deftest mailport-sends-a-letter-in-the-background ()
  (mailport-tests--with-outbox
    (mailport-tests--send "One" nil "Cc: they@example.test\nBcc: hidden@example.test\n")
    (should (eq 'queued (mailport-tests--state)))
    (should-not mailport-tests--letters)
    (let ((id (mailport-tests--state :id)))
      (dolist (suffix '(".msg" ".eld"))
        (should (= #o600 (file-modes (mailport--outbox-file id suffix)))))
      (should (= #o700 (file-modes mailport-outbox-directory))))
    (mailport-tests--until #'mailport-tests--outbox-empty-p)
    (should (= 1 (length mailport-tests--letters)))
    (let ((letter (car mailport-tests--letters)))
      (should (string-match-p "^Subject: One$" (plist-get letter :text)))
      (should (string-match-p "\nHello\n\\.\\.\n\\.\\.\\.\nend\\'" (plist-get letter :text)))
      (should-not (string-match-p "hidden" (plist-get letter :text)))
      (should (equal "MAIL FROM:<me@example.test>" (car (plist-get letter :envelope))))
      (should (equal '("RCPT TO:<hidden@example.test>" "RCPT TO:<they@example.test>"
                       "RCPT TO:<you@example.test>")
                     (sort (cdr (plist-get letter :envelope)) #'string<))))
    (should-not (directory-files mailport-outbox-directory nil "\\.\\(?:msg\\|eld\\|new\\)"))))

(ert-deftest mailport-queues-a-megabyte-at-once ()
  (mailport-tests--with-outbox
    (let* ((body (make-string 1000000 ?x))
           (file (make-temp-file "mailport-test-"))
           (write (lambda () (let ((write-region-inhibit-fsync nil)
                                   (coding-system-for-write 'no-conversion))
                               (write-region body nil file nil 'silent))))
           (began nil)
           (written nil))
      (dotimes (n 15000) (aset body (* n 66) ?\n))
      (setq written (/ (car (benchmark-call write 9)) 9))
      (delete-file file)
      (cl-letf* ((add (symbol-function 'mailport--queue-letter))
                 ((symbol-function 'mailport--queue-letter)
                  (lambda (&rest arguments)
                    (let ((before (float-time)))
                      (prog1 (apply add arguments)
                        (setq began (- (float-time) before)))))))
        (mailport-send-mode 1)
        (mailport-tests--send "Large" body))
      (message "A letter of 1 MB is queued in %d ms, %.1f times a write of it that is forced to disk"
               (* 1000 began) (/ began written))
      (should (< began 2))
      (mailport-tests--until #'mailport-tests--outbox-empty-p)
      (should (< 1000000 (length (plist-get (car mailport-tests--letters) :text)))))))

(ert-deftest mailport-sends-the-bytes-that-smtpmail-sends-alone ()
  (mailport-tests--with-outbox
    (dolist (coding '(nil utf-8 iso-8859-1))
      (setq mailport-tests--letters nil)
      (dolist (mode '(1 -1))
        (mailport-send-mode mode)
        (with-temp-buffer
          (insert "From: me@example.test\nTo: you@example.test\nSubject: Grüße\n"
                  "Message-ID: <1@example.test>\nDate: now\n" mail-header-separator
                  "\nStraße\n.\n.. \n\nFrom here\nno newline at the end")
          (let ((noninteractive (= mode -1)) (smtpmail-code-conv-from coding)
                (sendmail-coding-system coding) (inhibit-message t))
            (smtpmail-send-it)))
        (mailport-tests--until #'mailport-tests--outbox-empty-p))
      (should (= 2 (length mailport-tests--letters)))
      (should (equal (car mailport-tests--letters) (cadr mailport-tests--letters)))
      (should (string-match-p "Stra[^[:ascii:]]+e" (plist-get (car mailport-tests--letters)
                                                              :text))))))

(ert-deftest mailport-sends-with-the-account-that-was-bound ()
  (mailport-tests--with-outbox
    (let ((port smtpmail-smtp-service)
          (smtpmail-smtp-service (mailport-tests--refused)))
      (mailport-tests--send "Other" nil
                            (format "X-Message-SMTP-Method: smtp 127.0.0.1 %d\n" port)))
    (mailport-tests--until #'mailport-tests--outbox-empty-p)
    (should (= 1 (length mailport-tests--letters)))))

(ert-deftest mailport-sends-two-letters-one-after-the-other ()
  (mailport-tests--with-outbox
    (let ((open 0) (most 0))
      (setq mailport-tests--reply
            (lambda (_ line)
              (cond ((string-prefix-p "EHLO" line) (setq open (1+ open) most (max most open)))
                    ((equal line "QUIT") (setq open (1- open))))
              nil))
      (mailport-tests--send "First")
      (mailport-tests--send "Second")
      (mailport-tests--until #'mailport-tests--outbox-empty-p)
      (should (= 1 most))
      (should (equal '("First" "Second")
                     (mapcar (lambda (letter)
                               (let ((text (plist-get letter :text)))
                                 (string-match "^Subject: \\(.*\\)$" text)
                                 (match-string 1 text)))
                             (reverse mailport-tests--letters)))))))

(ert-deftest mailport-send-mode-leaves-batch-mode-and-the-queue-of-smtpmail-alone ()
  (mailport-tests--with-outbox
    (let ((smtpmail-queue-mail t)
          (smtpmail-queue-dir (expand-file-name "queued-mail/" folder)))
      (mailport-tests--send "Queued")
      (should-not (mailport--outbox-letters))
      (should (directory-files smtpmail-queue-dir nil "index")))
    (let ((smtpmail-queue-dir mailport-outbox-directory))
      (should-error (mailport-tests--send "Nowhere")))
    (let (sent)
      (cl-letf (((symbol-function 'mailport--outbox-add) (lambda (&rest _) (ert-fail "It queues")))
                ((symbol-function 'smtpmail-try-auth-methods) (lambda (&rest _) (setq sent t) nil)))
        (with-temp-buffer
          (insert "To: you@example.test\nSubject: Batch\n" mail-header-separator "\nHello\n")
          (smtpmail-send-it)))
      (should sent))
    (should (= 1 (length mailport-tests--letters)))
    (should-not (mailport--outbox-letters))))

(ert-deftest mailport-send-mode-leaves-sendmail-alone ()
  (mailport-tests--with-outbox
    (let ((program (expand-file-name "sendmail" folder))
          (received (expand-file-name "received" folder)))
      (with-temp-file program
        (insert "#!/bin/sh\ncat >" received "\n"))
      (set-file-modes program #o700)
      (let ((message-send-mail-function #'message-send-mail-with-sendmail)
            (sendmail-program program))
        (mailport-tests--send "By sendmail"))
      (should-not (mailport--outbox-letters))
      (with-temp-buffer
        (insert-file-contents received)
        (should (search-forward "Subject: By sendmail" nil t))))))

(ert-deftest mailport-has-a-letter-on-disk-before-it-returns ()
  (mailport-tests--with-outbox
    (let ((steps nil) (sync (symbol-function 'mailport-module-sync-directory)))
      (cl-letf (((symbol-function 'mailport-module-sync-directory)
                 (lambda (directory) (push 'names steps) (funcall sync directory)))
                ((symbol-function 'mailport--outbox-start) #'ignore))
        (advice-add 'write-region :before
                    (lambda (_ _ file &rest _)
                      (push (list (file-name-extension (file-name-sans-extension file))
                                  (not write-region-inhibit-fsync))
                            steps))
                    '((name . mailport-tests--write)))
        (unwind-protect (mailport-tests--send "Durable")
          (advice-remove 'write-region 'mailport-tests--write)))
      (should (equal '(("msg" t) ("eld" t) names) (nreverse steps))))))

(ert-deftest mailport-sends-letters-of-feedmail ()
  (mailport-tests--with-outbox
    (let ((errors (generate-new-buffer " *errors*")))
      (with-temp-buffer
        (insert "From: me@example.test\nTo: you@example.test\nSubject: Fed\n\nHello\n")
        (let ((noninteractive nil))
          (feedmail-buffer-to-smtpmail (current-buffer) errors '("you@example.test"))))
      (should (= 0 (buffer-size errors)))
      (kill-buffer errors))
    (should (eq 'queued (mailport-tests--state)))
    (mailport-tests--until #'mailport-tests--outbox-empty-p)
    (should (equal '("MAIL FROM:<me@example.test>" "RCPT TO:<you@example.test>")
                   (plist-get (car mailport-tests--letters) :envelope)))))

;;;; Passwords and questions

(defun mailport-tests--demand-login (client line)
  "Reply to LINE of CLIENT as a server that demands a login."
  (cond ((string-prefix-p "AUTH" line) (process-put client 'in t) nil)
        ((and (string-prefix-p "MAIL" line) (not (process-get client 'in)))
         (process-send-string client "530 login first\r\n")
         t)))

(ert-deftest mailport-passes-a-password-on-standard-input ()
  (mailport-tests--with-outbox
    (setq mailport-tests--reply #'mailport-tests--demand-login)
    (with-temp-file (expand-file-name "authinfo" folder)
      (insert (format "machine 127.0.0.1 port %d login me password s3cret\n"
                      smtpmail-smtp-service)))
    (let (commands)
      (cl-letf* ((tell (symbol-function 'mailport--tell-sender))
                 ((symbol-function 'mailport--tell-sender)
                  (lambda (process value)
                    (push (process-command process) commands)
                    (funcall tell process value))))
        (mailport-tests--send "Secret")
        (mailport-tests--until #'mailport-tests--outbox-empty-p))
      (should-not (string-match-p "s3cret" (format "%S" commands))))
    (should (= 1 (length mailport-tests--letters)))
    (should (member (concat "AUTH PLAIN " (base64-encode-string "\0me\0s3cret"))
                    mailport-tests--commands))))

(ert-deftest mailport-keeps-a-letter-whose-password-is-rejected ()
  (mailport-tests--with-outbox
    (setq smtpmail-servers-requiring-authorization "."
          mailport-tests--reply (lambda (client line)
                                  (when (string-prefix-p "AUTH" line)
                                    (process-send-string client "535 wrong\r\n")
                                    t)))
    (with-temp-file (expand-file-name "authinfo" folder)
      (insert (format "machine 127.0.0.1 port %d login me password s3cret\n"
                      smtpmail-smtp-service)))
    (nsm-save-host "127.0.0.1" smtpmail-smtp-service nil 'conditions '(:unencrypted) 'always)
    (mailport-tests--send "Denied")
    (mailport-tests--until-state 'failed)
    (should (string-match-p "535 wrong" (mailport-tests--state :reason)))
    (should-not (string-match-p (base64-encode-string "\0me\0s3cret")
                                (mailport-tests--state :reason)))
    (should-not mailport-tests--letters)))

(ert-deftest mailport-waits-where-a-password-would-be-asked ()
  (mailport-tests--with-outbox
    (setq mailport-tests--reply #'mailport-tests--demand-login
          ;; Emacs 30 does not ask after a 530.
          smtpmail-servers-requiring-authorization ".")
    ;; A password is about to go in cleartext.
    (mailport-tests--send "Locked")
    (mailport-tests--until-state 'waiting)
    (should (string-match-p "unencrypted" (mailport-tests--state :reason)))
    (nsm-save-host "127.0.0.1" smtpmail-smtp-service nil 'conditions '(:unencrypted) 'always)
    (mailport--outbox-set (mailport-tests--state :id) t :state 'queued)
    (mailport--outbox-start)
    (mailport-tests--until (lambda () (not (eq 'waiting (mailport-tests--state)))))
    (mailport-tests--until-state 'waiting)
    (should (string-match-p "password of .*127.0.0.1 is needed" (mailport-tests--state :reason)))
    (should-not mailport-tests--letters)
    ;; In this Emacs it can be asked.
    (cl-letf (((symbol-function 'read-passwd) (lambda (&rest _) "s3cret"))
              ((symbol-function 'read-string) (lambda (&rest _) "me"))
              (auth-source-save-behavior nil))
      (mailport--outbox-send-here (mailport-tests--state :id)))
    (should (= 1 (length mailport-tests--letters)))
    (should (mailport-tests--outbox-empty-p))))

;;;; Failures

(ert-deftest mailport-keeps-a-letter-that-the-server-rejects ()
  (dolist (command '("MAIL" "RCPT" "DATA" "."))
    (ert-info (command)
      (mailport-tests--with-outbox
        (setq mailport-tests--reply
              (lambda (client line)
                (when (string-prefix-p command line)
                  (process-put client 'data nil)
                  (process-send-string client "571 not here\r\n")
                  t)))
        (mailport-tests--send "Rejected")
        (mailport-tests--until-state 'failed)
        (should (string-match-p "571 not here" (mailport-tests--state :reason)))
        ;; Again, and this time it is taken.
        (setq mailport-tests--reply #'ignore)
        (mailport-outbox)
        (goto-char (point-min))
        (should (string-match-p "Rejected.*not sent: 571 not here" (buffer-string)))
        (mailport-outbox-retry)
        (mailport-tests--until #'mailport-tests--outbox-empty-p)
        (should (equal "" (buffer-string)))
        (kill-buffer)
        (should (= 1 (length mailport-tests--letters)))))))

(ert-deftest mailport-keeps-a-letter-that-cannot-be-connected-and-retries-it ()
  (mailport-tests--with-outbox
    (let ((smtpmail-smtp-service (mailport-tests--refused)))
      (mailport-tests--send "Offline"))
    (mailport-tests--until-state 'failed)
    (let ((mailport-outbox-retry-delay 1) (smtpmail-smtp-service (mailport-tests--refused)))
      (mailport--outbox-delete (mailport-tests--state :id))
      (mailport-tests--send "Offline")
      (mailport-tests--until (lambda () (mailport-tests--state :not-before)))
      (should (eq 'queued (mailport-tests--state)))
      (should (mailport-tests--state :reason)))))

(ert-deftest mailport-never-sends-again-what-may-have-been-sent ()
  (mailport-tests--with-outbox
    (setq mailport-tests--reply
          (lambda (client line)
            ;; It takes the message, and says nothing.
            (when (equal line ".")
              (push (list :text "taken") mailport-tests--letters)
              (delete-process client)
              t)))
    (mailport-tests--send "Doubtful")
    (mailport-tests--until-state 'uncertain)
    (setq mailport-tests--reply #'ignore)
    (mailport--outbox-start)
    (mailport-tests--until (lambda () (null mailport--outbox-timer)))
    (should-not mailport--sender)
    (should (eq 'uncertain (mailport-tests--state)))
    (should (= 1 (length mailport-tests--letters)))
    (mailport-outbox)
    (goto-char (point-min))
    (cl-letf (((symbol-function 'yes-or-no-p) #'ignore))
      (should-error (mailport-outbox-retry) :type 'user-error))
    (cl-letf (((symbol-function 'yes-or-no-p) #'always))
      (mailport-outbox-retry))
    (mailport-tests--until #'mailport-tests--outbox-empty-p)
    (should (= 2 (length mailport-tests--letters)))))

(ert-deftest mailport-edits-a-letter-again-with-its-message-id ()
  (mailport-tests--with-outbox
    (setq mailport-tests--reply (lambda (client line)
                                  (when (string-prefix-p "RCPT" line)
                                    (process-send-string client "571 refused\r\n")
                                    t)))
    (mailport-tests--send "Wrong" nil "Bcc: hidden@example.test\nMessage-ID: <1@example.test>\n")
    (mailport-tests--until-state 'failed)
    (setq mailport-tests--reply #'ignore)
    (mailport-outbox)
    (goto-char (point-min))
    (mailport-outbox-edit)
    (should (eq 'editing (mailport-tests--state)))
    (should (derived-mode-p 'message-mode))
    (should (string-match-p "^Bcc: hidden@example.test$" (buffer-string)))
    (should-not (string-match-p "^\\(?:Fcc\\|Gcc\\|Date\\|X-Message\\)" (buffer-string)))
    (goto-char (point-max))
    (insert "And more\n")
    (let ((noninteractive nil) (inhibit-message t)
          (message-kill-buffer-on-exit t) (message-fcc-handler-function #'ignore))
      (message-send-and-exit))
    (mailport-tests--until #'mailport-tests--outbox-empty-p)
    (should (= 1 (length mailport-tests--letters)))
    (let ((text (plist-get (car mailport-tests--letters) :text)))
      (should (string-match-p "^Message-ID: <1@example.test>$" text))
      (should (string-match-p "And more" text))
      (should-not (string-match-p "hidden" text)))
    (should (member "RCPT TO:<hidden@example.test>"
                    (plist-get (car mailport-tests--letters) :envelope)))))

(ert-deftest mailport-asks-before-emacs-ends-with-letters ()
  (mailport-tests--with-outbox
    (let ((asked nil))
      (cl-letf (((symbol-function 'yes-or-no-p) (lambda (prompt) (setq asked prompt) nil)))
        (should (run-hook-with-args-until-failure 'kill-emacs-query-functions))
        (should-not asked)
        (mailport-tests--send "Unsent")
        (should-not (run-hook-with-args-until-failure 'kill-emacs-query-functions))
        (should (string-match-p "1 letter in the outbox is not sent" asked))))))

;;;; Crashes

(defun mailport-tests--kill-sender-at (prefix)
  "Kill the Emacs that sends when it says a command with PREFIX, once."
  (let ((killed nil))
    (setq mailport-tests--reply
          (lambda (client line)
            (when (and (not killed) (string-prefix-p prefix line))
              (setq killed t)
              (signal-process mailport--sender 'KILL)
              (delete-process client)
              t)))))

(ert-deftest mailport-loses-and-doubles-nothing-when-the-sender-is-killed ()
  (dolist (command '("EHLO" "MAIL" "RCPT" "DATA" "QUIT"))
    (ert-info (command)
      (mailport-tests--with-outbox
        (mailport-tests--kill-sender-at command)
        (mailport-tests--send "Killed")
        (mailport-tests--until #'mailport-tests--outbox-empty-p)
        (should (= 1 (length mailport-tests--letters))))))
  ;; The message is with the server, which may have taken it.
  (mailport-tests--with-outbox
    (mailport-tests--kill-sender-at ".")
    (mailport-tests--send "Killed")
    (mailport-tests--until-state 'uncertain)
    (should-not mailport-tests--letters))
  ;; It may have sent the end of the message already, or not.
  (mailport-tests--with-outbox
    (mailport-tests--kill-sender-at "text Hello")
    (mailport-tests--send "Killed")
    (mailport-tests--until (lambda ()
                             (and (null mailport--sender)
                                  (memq (mailport-tests--state) '(nil uncertain)))))
    (should (= 1 (+ (length mailport-tests--letters) (length (mailport--outbox-letters)))))))

(defun mailport-tests--parent (folder port command signal &optional before)
  "Have another Emacs queue a letter for PORT, and send it SIGNAL.
Its outbox is in FOLDER.  It gets the signal when its sender says COMMAND.  It
evaluates BEFORE first."
  (let* ((killed nil)
         (other
          (mailport-tests--emacs
           folder
           `(progn
              (require 'mailport-send)
              (require 'message)
              (setq mailport-outbox-directory ,(expand-file-name "outbox/" folder)
                    smtpmail-smtp-server "127.0.0.1" smtpmail-smtp-service ,port
                    smtpmail-stream-type 'plain user-mail-address "me@example.test"
                    mailport-cache nil mailport-plans nil
                    auth-sources nil message-send-mail-function #'smtpmail-send-it)
              (mailport-mode 1)
              (mailport-send-mode 1)
              ,before
              (with-temp-buffer
                (message-mode)
                (insert "To: you@example.test\nSubject: Orphan\n"
                        mail-header-separator "\nHello\n")
                (let ((noninteractive nil)) (message-send-mail)))
              (message "Queued")
              (while t (accept-process-output nil 0.05))))))
    (setq mailport-tests--reply
          (lambda (_ line)
            (when (and (not killed) (string-prefix-p command line))
              (setq killed t)
              (signal-process other signal)
              (while (process-live-p other) (accept-process-output other 0.01)))
            nil))
    (with-timeout (120 (ert-fail (list "Never killed" (mailport-tests--said other)
                                      mailport-tests--commands)))
      (while (not (process-get other 'over))
        (accept-process-output nil 0.02)))))

(ert-deftest mailport-loses-and-doubles-nothing-when-the-first-emacs-is-killed ()
  (dolist (command '("EHLO" "MAIL" "RCPT" "DATA" "text Hello" "." "QUIT"))
    (ert-info (command)
      (mailport-tests--with-outbox
        (mailport-tests--parent folder smtpmail-smtp-service command 'KILL)
        ;; The next one sends what is left, after the sender of the first has ended.
        (mailport--outbox-start)
        (mailport-tests--until #'mailport-tests--outbox-empty-p)
        (mailport-tests--until (lambda () (not (mailport--another-sends-p))))
        (should (= 1 (length mailport-tests--letters)))))))

(ert-deftest mailport-goes-on-sending-after-emacs-has-ended ()
  (dolist (command '("MAIL" "."))
    (ert-info (command)
      (mailport-tests--with-outbox
        (mailport-tests--parent folder smtpmail-smtp-service command 'TERM)
        (mailport-tests--until #'mailport-tests--outbox-empty-p)
        (should (= 1 (length mailport-tests--letters)))))))

(ert-deftest mailport-queues-all-of-a-letter-or-nothing-when-emacs-is-killed ()
  (pcase-dolist (`(,when ,suffix ,sent) '((:before ".msg.new" 0) (:after ".msg.new" 0)
                                          (:before ".eld.new" 0) (:after ".eld.new" 1)))
    (ert-info ((format "%s %s" when suffix))
      (mailport-tests--with-outbox
        (mailport-tests--parent
         folder smtpmail-smtp-service "never" 'KILL
         `(advice-add 'rename-file ,when (lambda (file &rest _)
                                           (when (string-suffix-p ,suffix file)
                                             (signal-process (emacs-pid) 'KILL)))))
        (should (= sent (length (mailport--outbox-letters))))
        (mailport-send-mode 1)
        (mailport-tests--until (lambda () (null mailport--outbox-timer)))
        (mailport-tests--until #'mailport-tests--outbox-empty-p)
        (should (= sent (length mailport-tests--letters)))))))

(ert-deftest mailport-sends-nothing-while-another-emacs-does ()
  (mailport-tests--with-outbox
    (let ((lock (mailport-module-lock (mailport--outbox-file "send" ".lock") nil)))
      (should (user-ptrp lock))
      (mailport-tests--send "Later")
      (mailport--outbox-run)
      (should-not mailport--sender)
      ;; The sender also looks, for the lock may be taken at any time.
      (mailport--send-in-child (mailport-tests--state :id))
      (mailport-tests--until (lambda () (null mailport--sender)))
      (should-not mailport-tests--commands)
      (should (eq 'queued (mailport-tests--state)))
      (mailport-module-unlock lock)
      (mailport-tests--until #'mailport-tests--outbox-empty-p)
      (should (= 1 (length mailport-tests--letters))))))

;;;; Upgrades

(defun mailport-tests--next-package (folder)
  "Make the package of version 9.9.9 in FOLDER, and return its file."
  (let* ((default-directory folder)
         (name (format "mailport-%s" mailport-version))
         (next "mailport-9.9.9"))
    (should (= 0 (call-process "tar" nil nil nil "-xf"
                               (expand-file-name (concat name ".tar") mailport--here))))
    (rename-file name next)
    (dolist (file (directory-files
                   next t "mailport\\(?:-load\\|-pkg\\|-module\\)?\\.\\(?:el\\|so\\)\\'"))
      (with-temp-buffer
        (set-buffer-multibyte nil)
        (insert-file-contents-literally file)
        ;; As long as the other, so that the module stays whole.
        (while (search-forward mailport-version nil t)
          (replace-match "9.9.9" t t))
        (let ((coding-system-for-write 'no-conversion))
          (write-region nil nil file nil 'silent))))
    (should (= 0 (call-process "tar" nil nil nil "-cf" (concat next ".tar") next)))
    (expand-file-name (concat next ".tar"))))

(ert-deftest mailport-goes-on-after-its-package-was-reinstalled-and-upgraded ()
  (mailport-tests--with-outbox
    (let* ((package (expand-file-name (format "mailport-%s.tar" mailport-version) mailport--here))
           (next (mailport-tests--next-package folder))
           (plan (format "%d:cleartext" (mailport-tests--echo))))
      (let ((said
             (mailport-tests--run
              folder
              `(let ((streams nil))
                 (setq load-path (seq-remove (lambda (directory)
                                               (file-equal-p directory ,mailport--here))
                                             load-path))
                 (require 'package)
                 (package-install-file ,package)
                 (setq mailport-cache nil mailport-plans '(("127.0.0.1:587" . ,plan))
                       mailport-outbox-directory ,(expand-file-name "its-outbox/" folder)
                       mailport-outbox-retry-delay nil auth-sources nil
                       smtpmail-smtp-server "127.0.0.1"
                       smtpmail-smtp-service ,smtpmail-smtp-service
                       smtpmail-stream-type 'plain user-mail-address "me@example.test")
                 (mailport-mode 1)
                 (mailport-send-mode 1)
                 (dolist (file '(,package ,package ,package ,next ,next))
                   (package-install-file file)
                   (push (open-network-stream "mail" nil "127.0.0.1" 587 :type 'plain)
                         streams)
                   (mailport-report)
                   (mailport-outbox)
                   (with-temp-buffer
                     (insert "To: you@example.test\nSubject: Upgraded\n"
                             mail-header-separator "\nHello\n")
                     (let ((noninteractive nil)) (smtpmail-send-it)))
                   (while (mailport--outbox-letters)
                     (when (plist-get (car (mailport--outbox-letters)) :reason)
                       (error "Not sent: %S" (mailport--outbox-letters)))
                     (accept-process-output nil 0.02))
                   (dolist (stream streams)
                     (let ((received ""))
                       (set-process-filter stream (lambda (_ text)
                                                    (setq received (concat received text))))
                       (process-send-string stream "still here")
                       (while (not (string-suffix-p "still here" received))
                         (accept-process-output nil 0.02)))))
                 (message "Lisp %s, module %s" mailport-version
                          (mailport-module-version))))))
	(should (string-match-p (format "Lisp 9\\.9\\.9, module %s" mailport-version) said))
	(should (equal 1 (with-temp-buffer
                           (insert said)
                           (how-many "is used until you restart Emacs" (point-min)))))
	(should (= 5 (length mailport-tests--letters)))))))

(provide 'mailport-send-tests)

;;; mailport-send-tests.el ends here
