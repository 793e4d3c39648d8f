;;; send.el --- Send one letter as a mail client does  -*- lexical-binding: t; no-byte-compile: t; -*-

;;; Commentary:

;; What to do is in the environment, and what happened is printed as JSON.

;;; Code:

(require 'json)
(require 'smtpmail)
(require 'auth-source)
(require 'gnutls)
(require 'nsm)

(defun lab-get (name)
  "Return the environment's NAME, nil if it is empty."
  (let ((value (getenv (concat "LAB_" name))))
    (and value (not (equal value "")) value)))

(setq gnutls-trustfiles (list (lab-get "CERTIFICATE"))
      nsm-settings-file (expand-file-name "nsm" (getenv "HOME"))
      auth-sources (list (expand-file-name "authinfo" (getenv "HOME")))
      user-mail-address "sender@example.test"
      user-full-name "Sender"
      smtpmail-smtp-server (lab-get "HOST")
      smtpmail-stream-type (and (lab-get "TYPE") (intern (lab-get "TYPE")))
      smtpmail-local-domain "client.example.test"
      make-backup-files nil)

(unless (member (lab-get "WAY") '("default" "setq"))
  (customize-set-variable 'smtpmail-smtp-service (string-to-number (lab-get "PORT"))))

(when (lab-get "MAILPORT")
  (require 'mailport)
  (setq mailport-cache nil)
  (when (lab-get "PLAN")
    (push (cons smtpmail-smtp-server (lab-get "PLAN")) mailport-plans))
  (mailport-mode 1)
  (when (equal (lab-get "WAY") "setq")
    (setq smtpmail-smtp-service (string-to-number (lab-get "PORT")))))

(defvar lab-gap 0 "The longest time between two ticks, in seconds.")
(defvar lab-tick nil "When the timer ticked last.")
(defvar lab-dial nil "The longest time between two ticks while a dial was under way.")

(defun lab-tick ()
  "Note how long ago the timer ticked."
  (let ((now (float-time)))
    (when lab-tick
      (setq lab-gap (max lab-gap (- now lab-tick))))
    (setq lab-tick now)))

(defun lab-start-dial (&rest _)
  "Begin to watch a dial."
  (lab-tick)
  (setq lab-gap 0))

(defun lab-end-dial (&rest _)
  "End to watch a dial."
  (lab-tick)
  (setq lab-dial lab-gap))

(when (lab-get "MAILPORT")
  (advice-add 'mailport--start :before #'lab-start-dial)
  (advice-add 'mailport--end :after #'lab-end-dial))

(defun lab-send ()
  "Send a letter by smtpmail, and return nil or what went wrong."
  (with-temp-buffer
    (insert "From: sender@example.test\nTo: reader@example.test\nSubject: " (lab-get "SUBJECT")
            "\n" mail-header-separator "\n.\n..\nFrom here\nthe last line\n")
    (condition-case error
        (pcase (lab-get "WAY")
          ("background" (lab-send-in-the-background))
          ("method" (lab-send-by-method))
          (_ (smtpmail-send-it) nil))
      ((error quit) (format "%S: %s" (car error) (error-message-string error))))))

(defun lab-send-by-method ()
  "Send the letter in the current buffer by a server that it names, and return nil."
  (require 'message)
  (goto-char (point-min))
  (insert (format "X-Message-SMTP-Method: smtp %s %d\n" smtpmail-smtp-server
                  smtpmail-smtp-service))
  (customize-set-variable 'smtpmail-smtp-service 587)
  (let ((smtpmail-smtp-server "nowhere.example.test")
        (message-send-mail-function #'smtpmail-send-it)
        (message-required-mail-headers nil))
    (message-mode)
    (message-send-mail)
    nil))

(defvar mailport--sender)
(defvar mailport-outbox-retry-delay)

(defun lab-send-in-the-background ()
  "Send the letter in the current buffer in the background.
Return nil, or the state of the letter and the reason."
  (setq mailport-outbox-retry-delay nil)
  (mailport-send-mode 1)
  (let ((noninteractive nil))
    (smtpmail-send-it))
  (let (letter)
    (while (and (setq letter (car (mailport--outbox-letters)))
                (or mailport--sender
                    (memq (plist-get letter :state) '(queued sending data))))
      (accept-process-output nil 0.05))
    (and letter
         (format "%s: %s" (plist-get letter :state) (plist-get letter :reason)))))

(defvar mailport-patience)

(defun lab-held ()
  "Return how many descriptors and processes this Emacs has."
  (list (length (directory-files "/proc/self/fd")) (length (process-list))))

(defun lab-quit ()
  "Quit in the middle of sending, and return what that said and left."
  (let ((held (lab-held)))
    (run-at-time (string-to-number (lab-get "QUIT")) nil (lambda () (setq quit-flag t)))
    ;; Patient, so that a slow machine quits in time.
    (let ((trouble (let ((mailport-patience 20)) (lab-send))))
      ;; A thread takes a moment to end.
      (list trouble
            (with-timeout (30 nil)
              (while (not (equal held (lab-held)))
                (sleep-for 0.02))
              t)
            (plist-get (mailport--report (car mailport--history)) :summary)))))

(defun lab-mew-busy-p ()
  "Whether Mew is sending, by any name that it has for the connection."
  (or (mew-smtp-get-server (mew-smtp-info-name mew-case-default))
      ;; Up to 6.10 that may be another one on port 25.
      (condition-case nil
          (mew-smtp-get-server (funcall #'mew-smtp-info-name mew-case-default t))
        (wrong-number-of-arguments nil))))

(defun lab-send-by-mew ()
  "Send a letter by Mew, and return nil or what went wrong."
  (add-to-list 'load-path (lab-get "MEW"))
  (let ((home (file-name-as-directory (getenv "HOME"))) (said nil))
    (setq mew-rc-file nil mew-mail-path (concat home "Mail") mew-conf-path mew-mail-path
          mew-use-cached-passwd nil mew-mail-domain "example.test" mew-name "Sender"
          mew-user "sender" mew-smtp-server smtpmail-smtp-server mew-smtp-port "smtp"
          mew-smtp-user nil mew-use-smtp-auth nil mew-use-biff nil
          ;; What it takes for Mew to fall back by itself.
          mew-use-submission t)
    (require 'mew)
    (require 'mew-smtp)
    (require 'mailport-mew)
    ;; What `mew' does when it starts, but for the windows.
    (require 'mew-unix)
    (require 'mew-varsx)
    (mew-regex-setup)
    (mew-set-environment)
    (when (lab-get "MAILPORT")
      (mailport-mew-mode 1))
    (cl-letf (((symbol-function 'message-box)
               (lambda (format &rest arguments)
                 (push (apply #'format format arguments) said))))
      (let* ((folder (expand-file-name "queue" mew-mail-path))
             (file (expand-file-name "1" folder)))
        (make-directory folder t)
        (with-temp-file file
          (insert "From: sender@example.test\nTo: reader@example.test\nSubject: "
                  (lab-get "SUBJECT") "\n\nthe last line\n"))
        (mew-lisp-save (concat file mew-queue-info-suffix)
                       (vector nil '("reader@example.test") '("reader@example.test") nil nil
                               "<1@example.test>" "now" mew-case-default))
        (let ((before (float-time)))
          (mew-smtp-flush-queue mew-case-default "+queue")
          (setq said (list (format "%.3f" (- (float-time) before)))))
        (with-timeout (60 (push "nothing happens" said))
          (while (lab-mew-busy-p)
            (accept-process-output nil 0.05))))
      (and (cdr said) (car said)))))

(defun lab-joined ()
  "Return how many connections are still joined, which may take a moment to end."
  (with-timeout (30 (mailport-module-joined))
    (while (< 0 (mailport-module-joined))
      (sleep-for 0.02))
    0))

(let* ((quit (and (lab-get "QUIT") (lab-quit)))
       (began (float-time))
       (timer (run-at-time 0 0.05 #'lab-tick))
       (trouble (progn (lab-tick) (if (lab-get "MEW") (lab-send-by-mew) (lab-send)))))
  (lab-tick)
  (cancel-timer timer)
  (let ((dial (bound-and-true-p mailport--history)))
    (princ (format "RESULT %s\n"
                   (json-encode
                    `((gap . ,lab-gap) (dial . ,lab-dial) (took . ,(- (float-time) began))
                      (trouble . ,trouble) (quit . ,quit)
                      (summary . ,(and dial (plist-get (mailport--report (car dial)) :summary)))
                      (joined . ,(and dial (lab-joined)))))))))

;;; send.el ends here
