;;; mailport-send.el --- Send letters in the background  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; smtpmail blocks Emacs for every reply of the server.  With
;;
;;     (mailport-send-mode 1)
;;
;; `smtpmail-send-it' puts the letter into the outbox and returns, and another Emacs
;; sends it.  So for your mail client "sent" means "queued".
;;
;; The other Emacs is a child of this one, see mailport-sender.el.  It sends one
;; letter and ends.  What it asks for, such as a password, it asks on its standard
;; error, and gets the answer on its standard input.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailport)
(require 'mailport-outbox)

(declare-function auth-source-search "auth-source")
(declare-function auth-source-forget+ "auth-source")
(declare-function mail-decode-encoded-word-string "mail-parse")
(declare-function mail-envelope-from "sendmail")
(declare-function mail-fetch-field "mail-utils")
(declare-function message-narrow-to-headers "message")
(declare-function smtpmail-query-smtp-server "smtpmail")
(declare-function smtpmail-user-mail-address "smtpmail")
(declare-function smtpmail-via-smtp "smtpmail")
(declare-function mailport-module-lock "mailport-module")
(declare-function mailport-module-unlock "mailport-module")
(defvar epg-pinentry-mode)
(defvar mail-specify-envelope-from)
(defvar smtpmail-code-conv-from)
(defvar smtpmail-mail-address)
(defvar smtpmail-smtp-server)

(defcustom mailport-outbox-retry-delay 300
  "Seconds after which a letter is sent again if no connection could be made.
Nil means never: the letter then waits in `mailport-outbox' for you.  The
default is 300."
  :type '(choice (const :tag "Never" nil) (number :tag "Seconds"))
  :group 'mailport)

(defcustom mailport-outbox-libraries nil
  "Libraries that the Emacs which sends letters loads first.
An example is a library with an authentication method of smtpmail.  The
default is nil."
  :type '(repeat string)
  :risky t
  :group 'mailport)

;;;; Queueing

(defvar mailport--queueing nil
  "Whether `smtpmail-via-smtp' is called for a letter that is to be queued.")

(defun mailport--queue-letters (send &rest arguments)
  "Call SEND with ARGUMENTS, and queue the letter that it sends."
  (if noninteractive
      (apply send arguments)
    (let ((mailport--queueing t))
      (apply send arguments))))

(defun mailport--queue-letter (via recipients buffer &rest more)
  "Queue the letter in BUFFER for RECIPIENTS, or call VIA with them and MORE."
  (if (not mailport--queueing)
      (apply via recipients buffer more)
    (let ((mailport--queueing nil))
      (unless smtpmail-smtp-server
        (smtpmail-query-smtp-server))
      (mailport--check-sender)
      (let ((letter (mailport--outbox-add
                     buffer (mailport--letter-coding buffer)
                     :subject (with-current-buffer buffer (mailport--field "subject"))
                     :recipients (mapcar #'substring-no-properties recipients)
                     :sender (mailport--envelope-sender buffer)
                     :variables (mailport--account-variables))))
        (mailport--outbox-start)
        ;; After what the mail client says.
        (run-at-time 0 nil #'message "Queued: %s (M-x mailport-outbox)"
                     (mailport--letter-name letter))))
    nil))

(defun mailport--letter-coding (buffer)
  "Return the coding system by which smtpmail would send BUFFER."
  (if (and smtpmail-code-conv-from
           (buffer-local-value 'enable-multibyte-characters buffer))
      (coding-system-change-eol-conversion smtpmail-code-conv-from 'unix)
    'raw-text-unix))

(defun mailport--field (name)
  "Return the header NAME of the current buffer, decoded, or nil."
  (save-excursion
    (save-restriction
      (message-narrow-to-headers)
      (let ((value (mail-fetch-field name)))
        (and value (substring-no-properties (mail-decode-encoded-word-string value)))))))

(defun mailport--envelope-sender (buffer)
  "Return the envelope sender for BUFFER, as smtpmail chooses it."
  (or smtpmail-mail-address
      (with-current-buffer buffer
        (save-excursion
          (save-restriction
            (message-narrow-to-headers)
            (or (and mail-specify-envelope-from (mail-envelope-from))
                (let ((from (mail-fetch-field "from")))
                  (and from (cadr (mail-extract-address-components from))))))))
      (smtpmail-user-mail-address)))

(defun mailport--readable-p (value)
  "Whether VALUE can be printed and read back."
  (condition-case nil
      (progn (read (prin1-to-string value)) t)
    (error nil)))

(defun mailport--account-variables ()
  "Return the variables of the account as they are bound now, as an alist."
  (let (variables)
    (mapatoms
     (lambda (symbol)
       (when (and (boundp symbol)
                  (not (keywordp symbol))
                  (let ((name (symbol-name symbol)))
                    (or (memq symbol '(user-mail-address user-full-name mail-host-address
                                                         mail-specify-envelope-from
                                                         mail-envelope-from))
                        (and (string-prefix-p "smtpmail-" name)
                             (not (string-match-p
                                   "\\`smtpmail-\\(?:-\\|queue\\|recipient\\|address-buffer\\|read-\\)"
                                   name))
                             (not (string-suffix-p "-hook" name)))))
                  (mailport--readable-p (symbol-value symbol)))
         (push (cons symbol (symbol-value symbol)) variables))))
    (cons (cons 'mailport--smtpmail-port-set (mailport--smtpmail-port-set-p)) variables)))

(defun mailport--letter-name (letter)
  "Return the name of LETTER for people."
  (let ((subject (plist-get letter :subject)))
    (if (member subject '(nil "")) "a letter without subject"
      (format "\"%s\"" subject))))

;;;; Sending

(defvar mailport--sender nil
  "The process of the Emacs that sends a letter, or nil.")

(defvar mailport--outbox-timer nil
  "The timer that looks for letters to send, or nil.")

(defun mailport--outbox-start (&optional delay)
  "Send the next letter that is queued, DELAY seconds from now."
  (when mailport--outbox-timer
    (cancel-timer mailport--outbox-timer))
  (setq mailport--outbox-timer
        (run-at-time (or delay 0) nil #'mailport--outbox-run)))

(defun mailport--outbox-due-p (letter)
  "Whether LETTER is to be sent now."
  (and (memq (plist-get letter :state) '(queued sending data))
       (<= (or (plist-get letter :not-before) 0) (float-time))))

(defun mailport--outbox-run ()
  "Send the next letter, unless one is being sent."
  (setq mailport--outbox-timer nil)
  (cond
   ((process-live-p mailport--sender))
   ((mailport--another-sends-p) (mailport--outbox-start 2))
   (t
    (let* ((letters (mailport--outbox-letters))
           (next (cl-find-if #'mailport--outbox-due-p letters))
           (later (delq nil (mapcar (lambda (letter)
                                      (and (eq 'queued (plist-get letter :state))
                                           (plist-get letter :not-before)))
                                    letters))))
      (cond (next (mailport--send-in-child (plist-get next :id)))
            (later (mailport--outbox-start (max 1 (- (apply #'min later) (float-time))))))))))

(defun mailport--another-sends-p ()
  "Whether another Emacs is sending letters."
  (let ((lock (mailport-module-lock (mailport--outbox-file "send" ".lock") nil)))
    (when (user-ptrp lock)
      (mailport-module-unlock lock))
    (null lock)))

(defun mailport--shared-variables ()
  "Return the variables that the other Emacs shares with this one, as an alist."
  (let (variables)
    (mapatoms
     (lambda (symbol)
       (when (and (boundp symbol)
                  (custom-variable-p symbol)
                  (string-match-p "\\`\\(?:gnutls\\|nsm\\|network-security\\|network-stream\\|tls\\|mailport\\)-"
                                  (symbol-name symbol))
                  (mailport--readable-p (symbol-value symbol)))
         (push (cons symbol (symbol-value symbol)) variables))))
    ;; What the user has accepted for this session.
    (push (cons 'nsm-temporary-host-settings
                (bound-and-true-p nsm-temporary-host-settings))
          variables)
    ;; The user cannot be asked there.
    (cons '(mailport-ask-default . give-up) variables)))

(defun mailport--child-command ()
  "Return the command of the Emacs that sends a letter.
It goes on when this Emacs ends, which sends it a hangup signal."
  (append (and (executable-find "nohup") '("nohup"))
          (list (expand-file-name invocation-name invocation-directory)
                "--batch" "-Q" "-L" mailport--here "-l" "mailport-sender"
                "-f" "mailport-sender-main")))

(defun mailport--check-sender ()
  "Signal an error if the Emacs that sends letters would bypass a proxy."
  (let ((mailport-via (and mailport-mode mailport-via)))
    (mailport--check-advice)))

(defun mailport--send-in-child (id)
  "Start an Emacs that sends letter ID."
  (mailport--check-sender)
  (let ((process (make-process
                  :name "mailport sender" :noquery t :connection-type 'pipe
                  :buffer (generate-new-buffer " *mailport sender*")
                  :coding 'utf-8-unix
                  :command (mailport--child-command)
                  :filter #'mailport--sender-filter
                  :sentinel #'mailport--sender-sentinel)))
    (setq mailport--sender process)
    (process-put process 'mailport-letter id)
    (process-put process 'mailport-name (mailport--letter-name (mailport--outbox-read id)))
    (mailport--tell-sender
     process
     (list :id id
           :directory (expand-file-name mailport-outbox-directory)
           :load-path load-path
           :libraries mailport-outbox-libraries
           :dial mailport-mode
           :variables (mailport--shared-variables)))))

(defun mailport--tell-sender (process value)
  "Send VALUE to PROCESS in one line."
  (ignore-errors
    (process-send-string
     process (concat (base64-encode-string
                      (encode-coding-string
                       (let ((print-length nil) (print-level nil)) (prin1-to-string value))
                       'utf-8-emacs)
                      t)
                     "\n"))))

(defun mailport--sender-filter (process text)
  "Handle TEXT from PROCESS: requests, and messages of that Emacs."
  (when (buffer-live-p (process-buffer process))
    (with-current-buffer (process-buffer process)
      (goto-char (point-max))
      (insert text)
      (goto-char (point-min))
      (while (re-search-forward "^mailport-request \\([^\n]+\\)\n" nil t)
        (let ((request (read (decode-coding-string (base64-decode-string (match-string 1))
                                                   'utf-8-emacs))))
          (replace-match "")
          ;; Not in the filter, where nothing can be interrupted.
          (run-at-time 0 nil #'mailport--answer-sender process request))))))

(defun mailport--answer-sender (process request)
  "Answer the REQUEST of PROCESS."
  (pcase request
    (`(auth . ,spec) (mailport--tell-sender process (mailport--credentials spec)))
    (`(forget . ,spec) (ignore-errors (apply #'auth-source-forget+ spec)))))

(defun mailport--credentials (spec)
  "Return what auth-source has for SPEC, or the symbol `ask'.
Nothing is asked: `ask' means that the user would have to be."
  (require 'auth-source)
  (require 'epg-config)
  (condition-case nil
      (let ((inhibit-interaction t)
            (epg-pinentry-mode 'error)
            (spec (copy-sequence spec)))
        (cl-remf spec :create)
        (mapcar (lambda (found)
                  (cl-loop for (key value) on found by #'cddr
                           for plain = (if (and (eq key :secret) (functionp value))
                                           (funcall value)
                                         value)
                           when (mailport--readable-p plain)
                           nconc (list key plain)))
                (apply #'auth-source-search spec)))
    (error 'ask)))

(defun mailport--sender-sentinel (process _event)
  "Report what became of the letter of PROCESS, and send the next one."
  (unless (process-live-p process)
    (let* ((id (process-get process 'mailport-letter))
           (status (process-exit-status process))
           (letter (mailport--outbox-read id))
           (said (and (buffer-live-p (process-buffer process))
                      (with-current-buffer (process-buffer process)
                        (string-trim (buffer-string))))))
      (when (buffer-live-p (process-buffer process))
        (kill-buffer (process-buffer process)))
      (setq mailport--sender nil)
      (cond ((and (eq status 75) (eq (process-status process) 'exit))
             ;; Another Emacs sends letters.
             (mailport--outbox-start 2))
            (t
             (unless (and (eq (process-status process) 'exit) (eq status 0))
               (setq letter (mailport--after-crash id said)))
             (mailport--report-letter letter (process-get process 'mailport-name))
             (run-hooks 'mailport-outbox-change-hook)
             (mailport--outbox-start))))))

(defun mailport--after-crash (id said)
  "Return letter ID after the Emacs that was to send it has crashed.
It SAID something, perhaps."
  (let ((reason (format "the Emacs that sends letters has ended: %s"
                        (if (member said '(nil "")) "it was killed"
                          (car (last (split-string said "\n")))))))
    (or (mailport--outbox-set id '(data) :state 'uncertain
                              :reason "it ended before the server's last reply")
        (let ((attempts (1+ (or (plist-get (mailport--outbox-read id) :attempts) 0))))
          (if (< attempts 3)
              (mailport--outbox-set id '(queued sending) :state 'queued :attempts attempts)
            (mailport--outbox-set id '(queued sending) :state 'failed :reason reason)))
        (mailport--outbox-read id))))

(defun mailport--report-letter (letter name)
  "Tell the user what became of LETTER with NAME; it was sent if it is nil."
  (pcase (plist-get letter :state)
    ('nil (message "Sent: %s%s" name
                   (let ((left (length (mailport--outbox-letters))))
                     (if (= left 0) "" (format " (%d in the outbox)" left)))))
    ((or 'queued 'sending)
     (when (plist-get letter :reason)
       (message "Not sent yet: %s: %s" (mailport--letter-name letter)
                (plist-get letter :reason))))
    (state
     (display-warning
      'mailport
      (format "%s: %s%s.  See M-x mailport-outbox."
              (mailport--letter-name letter)
              (cdr (assq state mailport--states))
              (if (plist-get letter :reason) (format ": %s" (plist-get letter :reason)) ""))
      :error))))

;;;; Sending while Emacs waits

(defun mailport--outbox-send-here (id)
  "Send letter ID in this Emacs."
  (require 'smtpmail)
  (let ((lock (mailport-module-lock (mailport--outbox-file "send" ".lock") nil))
        (letter nil))
    (unless (user-ptrp lock)
      (user-error "Another letter is being sent: try again in a moment"))
    (unwind-protect
        (progn
          (setq letter (or (mailport--outbox-set id mailport--resting :state 'sending)
                           (user-error "This letter is being sent")))
          (mailport--transmit letter))
      (mailport-module-unlock lock))
    (message "Sent: %s" (mailport--letter-name letter))))

(defvar mailport--end-of-data nil
  "Whether the reply to the end of a message is awaited.")

(defun mailport--note-end-of-data (id)
  "Return an advice that records when the server may have letter ID."
  (lambda (command process string &rest more)
    (if (not (equal string "."))
        (apply command process string more)
      (mailport--outbox-set id '(sending) :state 'data)
      (let ((reply (let ((mailport--end-of-data t))
                     (apply command process string more))))
        ;; The server has taken it: what follows, such as QUIT, changes nothing.
        (mailport--outbox-delete id)
        reply))))

(defun mailport--note-reply (id)
  "Return an advice that records a reply which rejects letter ID."
  (lambda (response)
    (when (and mailport--end-of-data
               (integerp (car-safe response))
               (<= 400 (car response)))
      (mailport--outbox-set id '(data) :state 'sending))
    response))

(defun mailport--transmit (letter)
  "Send LETTER by smtpmail, and delete it.
If that fails, set its state, and signal an error."
  (let* ((id (plist-get letter :id))
         (end-of-data (mailport--note-end-of-data id))
         (reply (mailport--note-reply id))
         (failure nil))
    (advice-add 'smtpmail-command-or-throw :around end-of-data)
    (advice-add 'smtpmail-read-response :filter-return reply)
    (unwind-protect
        (condition-case error
            (with-temp-buffer
              (set-buffer-multibyte nil)
              (mailport--outbox-insert id)
              (let ((message (current-buffer)))
                (cl-progv (mapcar #'car (plist-get letter :variables))
                    (mapcar #'cdr (plist-get letter :variables))
                  (let ((smtpmail-mail-address (plist-get letter :sender))
                        (smtpmail-code-conv-from nil))
                    (setq failure (smtpmail-via-smtp (plist-get letter :recipients) message))))))
          (inhibited-interaction
           (setq failure (list 'waiting (or (car-safe (cdr error))
                                            "a question has to be answered: press s"))))
          (mailport-resolve-error (setq failure (list 'retry (error-message-string error))))
          (mailport-connect-error (setq failure (list 'retry (error-message-string error))))
          (file-error (setq failure (list 'retry (error-message-string error))))
          ((error quit) (setq failure (error-message-string error))))
      (advice-remove 'smtpmail-command-or-throw end-of-data)
      (advice-remove 'smtpmail-read-response reply))
    (when (mailport--outbox-read id)
      (pcase-let ((`(,state ,reason)
                   (cond ((consp failure) failure)
                         (failure (list 'failed (mailport--sanitize failure)))
                         (t '(failed "smtpmail did not send it")))))
        (or (mailport--outbox-set id '(data) :state 'uncertain
                                  :reason (format "no reply to the message: %s" reason))
            (if (and (eq state 'retry) mailport-outbox-retry-delay noninteractive)
                (mailport--outbox-set id '(sending) :state 'queued :reason reason
                                      :not-before (+ (floor (float-time))
                                                     mailport-outbox-retry-delay))
              (mailport--outbox-set id '(sending) :reason reason
                                    :state (if (eq state 'retry) 'failed state))))
        (error "Not sent: %s" reason)))))

(defun mailport--sanitize (message)
  "Return MESSAGE on one line, without what follows a command with a password."
  (replace-regexp-in-string
   "\\bAUTH\\b.*" "AUTH"
   (replace-regexp-in-string "[ \t]*\n[ \t]*" " " (string-trim message))))

;;;; The mode

(defun mailport--ask-to-exit ()
  "Ask before Emacs ends with letters that are not sent."
  (let ((count (length (mailport--outbox-letters))))
    (or (= count 0)
        (yes-or-no-p
         (format "%d letter%s in the outbox %s not sent, and will be kept there.  Exit anyway? "
                 count (if (= count 1) "" "s") (if (= count 1) "is" "are"))))))

;;;###autoload
(define-minor-mode mailport-send-mode
  "Send letters in the background.
`smtpmail-send-it' then puts a letter into the outbox, and another Emacs sends
it.  So for your mail client \"sent\" means \"queued\".
See `mailport-outbox' for letters that could not be sent.

Batch mode, `smtpmail-queue-mail', and programs other than smtpmail work as
without this mode."
  :global t
  :group 'mailport
  (dolist (function '(smtpmail-send-it feedmail-buffer-to-smtpmail))
    (advice-remove function #'mailport--queue-letters))
  (advice-remove 'smtpmail-via-smtp #'mailport--queue-letter)
  (remove-hook 'kill-emacs-query-functions #'mailport--ask-to-exit)
  (when mailport-send-mode
    (setq mailport-send-mode nil)
    (require 'smtpmail)
    (require 'message)
    (mailport--prepare-outbox)
    (setq mailport-send-mode t)
    (dolist (function '(smtpmail-send-it feedmail-buffer-to-smtpmail))
      (advice-add function :around #'mailport--queue-letters))
    (advice-add 'smtpmail-via-smtp :around #'mailport--queue-letter)
    (add-hook 'kill-emacs-query-functions #'mailport--ask-to-exit)
    ;; Letters of an earlier Emacs.
    (mailport--outbox-start)))

(provide 'mailport-send)

;;; mailport-send.el ends here
