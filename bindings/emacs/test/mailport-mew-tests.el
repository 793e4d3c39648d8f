;;; mailport-mew-tests.el --- Each version of Mew falls back  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Run by `make test'.  Mew's part is played by stubs that call as its versions
;; do.  Up to 6.9 there are four arguments, and a process comes back.  Since 6.10
;; there are eight, for every protocol, and a list as of `open-network-stream'
;; comes back.  The Mew that Debian has sends real mail in the lab.

;;; Code:

(require 'mailport-tests)
(require 'mailport-mew)

(defvar mailport-tests--reported nil "The events that the stub of Mew got, the latest first.")
(defvar mailport-tests--left nil "Which connections were left to Mew, youngest first.")

(defvar mew-use-submission nil "Mew's: whether it falls back by itself.")

(defun mailport-tests--mew-falls-back-p (&rest _)
  "Whether Mew would fall back by itself."
  (and mew-use-submission t))

(defun mailport-tests--mew-own (name _buffer server port &rest more)
  "Do as Mew itself: note NAME, SERVER, PORT and MORE, and use TLS if that says so."
  (push (list server port (car more)) mailport-tests--left)
  (pcase more
    ('() (make-network-process :name name :host server :service port))
    (`(smtp t ,starttls ,_)
     (open-network-stream name nil server port :type (if starttls 'starttls 'tls)
                          :return-list t :always-query-capabilities t
                          :capability-command "EHLO here\r\n" :end-of-command "^[0-9]+ .*\r\n"
                          :end-of-capability "^[0-9]+ .*\r\n" :success "^2.*\n"
                          :starttls-function (lambda (capabilities)
                                               (and (string-match-p "STARTTLS" capabilities)
                                                    "STARTTLS\r\n"))))
    (_ (open-network-stream name nil server port :return-list t))))

(defmacro mailport-tests--with-mew (&rest body)
  "Evaluate BODY with a stub of Mew that falls back."
  (declare (indent 0) (debug t))
  `(mailport-tests--with
     (mailport-mode -1)
     (let ((mailport-tests--reported nil) (mailport-tests--left nil))
       (cl-letf (((symbol-function 'mew-open-network-stream) #'mailport-tests--mew-own)
                 ((symbol-function 'mew-smtp-send-message) #'mailport-tests--mew-falls-back-p)
                 ((symbol-function 'mew-smtp-info-name) #'mailport-tests--mew-falls-back-p)
                 ((symbol-function 'mew-smtp-ssl) (lambda (case) (eq case 'tls)))
                 ((symbol-function 'mew-smtp-ssh-server) (lambda (case) (eq case 'ssh)))
                 ((symbol-function 'mew-smtp-sentinel)
                  (lambda (process event)
                    (push (list (process-name process) event) mailport-tests--reported))))
         (mailport-mew-mode 1)
         (unwind-protect (progn ,@body)
           (mailport-mew-mode -1))
         (should-not (advice-member-p #'mailport-mew--open 'mew-open-network-stream))
         (should-not (advice-member-p #'mailport-mew--once 'mew-smtp-send-message))
         (should-not (advice-member-p #'mailport--around 'open-network-stream))))))

(defconst mailport-tests--mews
  '((6.8 . nil) (6.9 . nil) (6.10 . (smtp nil nil nil)) (6.11 . (smtp nil nil nil)))
  "The versions of Mew, and what follows the first four arguments there.")

(defun mailport-tests--mew-open (port more)
  "Open a connection to PORT as a Mew does that says MORE.
Return a function that returns the process, and with an argument what it has
received."
  (let* ((opened (apply 'mew-open-network-stream "mail" nil "127.0.0.1" port more))
         (process (if more (car opened) opened))
         (received ""))
    (should (equal (and more '(:type plain)) (cdr-safe opened)))
    ;; What every Mew does next.
    (set-process-query-on-exit-flag process nil)
    (set-process-coding-system process 'binary 'binary)
    (set-process-buffer process nil)
    (set-process-sentinel process 'mew-smtp-sentinel)
    (set-process-filter process (lambda (_ text) (setq received (concat received text))))
    (lambda (&optional text) (if text received process))))

(ert-deftest mailport-gives-every-mew-a-process-at-once-and-falls-back ()
  (pcase-dolist (`(,version . ,more) mailport-tests--mews)
    (ert-info ((format "Mew %s" version))
      (dolist (port '("smtp" 587))
        (mailport-tests--with-mew
          (mailport-tests--plan (mailport-tests--silent) (mailport-tests--echo))
          (let ((opened (mailport-tests--mew-open port more)))
            ;; It did not wait.
            (should-not mailport--history)
            (should (eq 'open (process-status (funcall opened))))
            (should (equal "mail" (process-name (funcall opened))))
            (mailport-tests--until (lambda () (equal "220 hello\r\n" (funcall opened t))))
            (process-send-string (funcall opened) "EHLO here\r\n")
            (mailport-tests--until
             (lambda () (equal "220 hello\r\nEHLO here\r\n" (funcall opened t))))
            (should-not mailport-tests--left)
            (should-not mailport-tests--reported)))))))

(ert-deftest mailport-has-a-plan-for-mew-where-the-user-has-none ()
  (let ((mailport-plans '(("own.example" . "587:starttls") ("alone.example" . nil)
                          ("odd.example" . "2525:cleartext"))))
    (pcase-dolist (`(,host ,port ,plan)
                   '(("m.example" "smtp" "587:cleartext,25:cleartext")
                     ("m.example" "submission" "587:cleartext,25:cleartext")
                     ("m.example" 25 "587:cleartext,25:cleartext")
                     ("own.example" 25 "587:starttls")
                     ("odd.example" 2525 "2525:cleartext")
                     ("alone.example" 25 nil)
                     ("m.example" 465 nil)
                     ("m.example" 2525 nil)
                     ("127.0.0.1" 10025 nil)))
      (should (equal (list host port plan)
                     (list host port (mailport-mew--plan host port)))))))

(ert-deftest mailport-tells-every-mew-once-that-a-connection-has-failed ()
  (pcase-dolist (`(,version . ,more) mailport-tests--mews)
    (ert-info ((format "Mew %s" version))
      (mailport-tests--with-mew
        (mailport-tests--plan (mailport-tests--refused) (mailport-tests--refused))
        (let ((opened (mailport-tests--mew-open 25 more)))
          (mailport-tests--until (lambda () (not (process-live-p (funcall opened)))))
          (accept-process-output nil 0.05)
          (pcase mailport-tests--reported
            ;; Mew looks for the word, and cuts the line's end off.
            (`(("mail" ,event)) (should (string-match-p "refused.* - failed\n\\'" event)))
            (reported (ert-fail reported))))))))

(ert-deftest mailport-cancels-the-dial-of-a-mew-that-gives-up ()
  (pcase-dolist (`(,_ . ,more) mailport-tests--mews)
    (mailport-tests--with-mew
      (mailport-tests--plan (mailport-tests--silent))
      (let ((opened (mailport-tests--mew-open 25 more)))
        (delete-process (funcall opened))
        (mailport-tests--until #'mailport-tests--idle-p)
        (should mailport--history)))))

(ert-deftest mailport-leaves-to-mew-what-is-not-smtp ()
  (mailport-tests--with-mew
    (setq mailport-plans nil)
    (let* ((port (mailport-tests--greeter))
           (tunnel '(smtp nil nil nil)))
      (pcase-dolist (`(,port . ,more)
                     `((,port) (,port . ,tunnel) (,port pop nil nil nil) (,port imap nil nil nil)
                       (,port nntp nil nil nil)))
        (setq mailport-tests--left nil)
        (let ((opened (apply 'mew-open-network-stream "mail" nil "127.0.0.1" port more)))
          (should (process-live-p (if more (car opened) opened)))
          (should (equal (list "127.0.0.1" port (car more)) (car mailport-tests--left)))))
      (should-not mailport--history))))

(ert-deftest mailport-falls-back-in-place-of-mew-and-leaves-it-its-tunnels ()
  (dolist (use '(nil t))
    (let ((mew-use-submission use))
      (mailport-tests--with-mew
        (dolist (function '(mew-smtp-send-message mew-smtp-info-name))
          (should-not (funcall function 'plain))
          (should (eq use (funcall function 'tls nil nil)))
          (should (eq use (funcall function 'ssh)))))
      (should (eq use mew-use-submission)))))

(ert-deftest mailport-refuses-mew-a-plan-with-tls-where-it-speaks-none ()
  (mailport-tests--with-mew
    (mailport-tests--plan "587:cleartext" "25:starttls")
    (dolist (more '(nil (smtp nil nil nil)))
      (should-error (apply 'mew-open-network-stream "mail" nil "127.0.0.1" 25 more)
                    :type 'mailport-misuse-error))
    (should-not mailport-tests--left)))

(ert-deftest mailport-dials-the-tls-of-mew-with-and-without-its-own-mode ()
  (dolist (mode '(nil t))
    (mailport-tests--with-mew
      (let* ((said "")
             (open (mailport-tests--port
                    (mailport-tests--server
                     (lambda (client) (process-send-string client "220 hello\r\n"))
                     (lambda (client text)
                       (setq said (concat said text))
                       (process-send-string client "250 nothing\r\n"))))))
        (setq mailport-port-delay nil mailport-patience nil)
        (mailport-tests--plan (format "%d:starttls" (mailport-tests--silent))
                              (format "%d:starttls" open))
        (when mode (mailport-mode 1))
        (mailport-tests--ticking
         (let ((result (mew-open-network-stream "mail" nil "127.0.0.1" 25 'smtp t t nil)))
           ;; This server has no STARTTLS, which is no reason to go on without.
           (should-not (car result))
           (should (plist-get (cdr result) :error))))
        (should (equal "EHLO here\r\n" said))
        (should (< mailport-tests--gap mailport-tests--alive))
        (should (= open (plist-get (mailport--report (car mailport--history)) :port)))
        (should (equal '(("127.0.0.1" 25 smtp)) mailport-tests--left))
        (should (eq mode (and (advice-member-p #'mailport--around 'open-network-stream) t)))
        (when mode (mailport-mode -1))))))

(provide 'mailport-mew-tests)

;;; mailport-mew-tests.el ends here
