;;; mailport.el --- Connect to mail servers without freezing  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;; Author: The mailport developers
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1"))
;; Keywords: mail, comm
;; URL: https://mailport.invalid/

;;; Commentary:

;; `mailport-mode' connects mail clients that use `open-network-stream', such as
;; smtpmail, to their submission server.  It tries the Submission port (587) and,
;; if that is not available, the SMTP port (25), over IPv4 and IPv6 in parallel.
;; Meanwhile Emacs does not freeze: timers and processes run, windows are redrawn,
;; and C-g cancels.
;;
;;     (mailport-mode 1)
;;
;; TLS is never weaker than the mail client asked for, and certificates are
;; verified for the host that you configured.
;;
;; `M-x mailport-report' shows the last dials.

;;; Code:

(require 'mailport-dial)
(require 'mailport-plan)
(require 'mailport-stream)
(require 'mailport-report)

(declare-function mailport-module-forget "mailport-module")

;;;; Streams

;;;###autoload
(defun mailport-open-network-stream (name buffer host service &rest parameters)
  "Open a stream to the mail server HOST, on the best port, and return it.
The arguments are those of `open-network-stream'.  SERVICE must be a mail port.
`mailport-plans' says which ports are tried.  The TLS mode is that of the plan,
for any type in PARAMETERS; with type nil, a stream is never in cleartext
unless the plan says so.

Everything that follows, such as the verification of the certificate and the
search for a password, uses the NAME, BUFFER, HOST and SERVICE that you pass.

While this function waits, timers and processes run, windows are redrawn, and
\\[keyboard-quit] closes all connections.

Signal `mailport-misuse-error', `mailport-resolve-error' or
`mailport-connect-error', all of which are a `mailport-error'.  See also
`mailport-error-attempts'."
  (let ((plan (mailport--plan host service parameters)))
    (unless plan
      (mailport--misuse "%s is not a mail port of %s: see `mailport-plans'" service host))
    (mailport--open plan name buffer host service parameters)))

;;;###autoload
(defun mailport-open-network-stream-async (callback name buffer host service &rest parameters)
  "Open a stream to a mail server in the background.
CALLBACK is called once, with the stream that `mailport-open-network-stream'
would return, or with the error: a list of the condition and its data.  NAME,
BUFFER, HOST, SERVICE and PARAMETERS are as there.  Invalid arguments signal an
error immediately.

The server's greeting is also awaited in the background.  Only what follows,
such as STARTTLS, blocks Emacs for a few round trips.

Return a dial, which `mailport-cancel' cancels until CALLBACK has been called."
  (let ((plan (mailport--plan host service parameters))
        (open (list name buffer host service parameters)))
    (unless plan
      (mailport--misuse "%s is not a mail port of %s: see `mailport-plans'" service host))
    (mailport--check host service plan parameters)
    (mailport--check-advice)
    (mailport--prepare)
    (mailport--start host plan
                     :on-question #'mailport--ask-soon
                     :on-end (lambda (dial)
                               ;; The callback runs from a separate timer.
                               (run-at-time 0 nil #'mailport--arrive dial callback open)))))

;;;; The mode

(defun mailport--around (open name buffer host service &rest parameters)
  "Dial if the stream is for mail, else call OPEN.
NAME, BUFFER, HOST, SERVICE and PARAMETERS are as in `open-network-stream'."
  (let ((plan (and (not (mailport--is-for mailport--passage host service))
                   (mailport--plan-of-stream name host service parameters))))
    (cond ((or (null plan)
               ;; This calls `open-network-stream' again, with the parameters of TLS.
               (and (plist-get parameters :nowait)
                    (memq (plist-get parameters :type) '(tls ssl))))
           (apply open name buffer host service parameters))
          ((and (plist-get parameters :nowait) (mailport--raw-p parameters))
           (let ((process (mailport--open-nowait plan name buffer host service parameters)))
             (if (plist-get parameters :return-list)
                 (list process :greeting nil :capabilities nil :type 'plain :error nil)
               process)))
          (t (mailport--open plan name buffer host service
                             (if (mailport--optional-tls-p name host service parameters)
                                 (append '(:mailport-optional-tls t) parameters)
                               parameters))))))

;;;###autoload
(define-minor-mode mailport-mode
  "Connect to mail servers on the best port, without freezing Emacs.
Every stream to a mail port that is opened by `open-network-stream' is dialled
by mailport: see `mailport-open-network-stream' and `mailport-plans'.
Other streams are not affected."
  :global t
  :group 'mailport
  (advice-remove 'open-network-stream #'mailport--around)
  (advice-remove 'smtpmail-try-auth-method #'mailport--guard-password)
  (when mailport-mode
    (setq mailport-mode nil)
    (mailport--prepare)
    (setq mailport-mode t)
    ;; Before other advice, which would otherwise decide where a stream leads.
    (advice-add 'open-network-stream :around #'mailport--around '((depth . -100)))))

;;;###autoload
(defun mailport-forget (host)
  "Remove the entries of HOST from the cache, or all entries if HOST is empty."
  (interactive "sRemove the cache's entries of host (empty: of all hosts): ")
  (mailport--load)
  (let ((count (mailport-module-forget (puny-encode-domain host))))
    (when (stringp count)
      (mailport--misuse "%s" count))
    (message "Removed %d entr%s" count (if (= count 1) "y" "ies"))))

;; Without a package, no other file defines these.
(autoload 'mailport-send-mode "mailport-send" nil t)
(autoload 'mailport-outbox "mailport-outbox" nil t)

(provide 'mailport)

;;; mailport.el ends here
