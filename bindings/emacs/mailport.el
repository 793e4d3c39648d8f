;;; mailport.el --- Dial mail servers without freezing  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;; Author: The mailport developers
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1"))
;; Keywords: mail, comm
;; URL: https://docs.rs/mailport

;;; Commentary:

;; A port that is silent blocks Emacs for minutes: no timer runs, and C-g
;; waits.  With
;;
;;     (mailport-mode 1)
;;
;; every mail reader that connects through `open-network-stream' reaches its
;; sending server on the Submission port (587) or, when that is not available,
;; on the SMTP port (25), over IPv4 and IPv6 at once.  Meanwhile Emacs lives:
;; timers, redisplay, other processes and C-g work, and the echo area says
;; what is happening.  TLS is never weaker than asked, and certificates are
;; verified for the host that you configured.
;;
;; `M-x mailport-report' shows what the last dials did.

;;; Code:

(require 'mailport-dial)
(require 'mailport-plan)
(require 'mailport-stream)
(require 'mailport-report)

(declare-function mailport-module-forget "mailport-module")

;;;; Streams

;;;###autoload
(defun mailport-open-network-stream (name buffer host service &rest parameters)
  "Open a stream to the mail server HOST, on its best port.
The arguments are those of `open-network-stream', and SERVICE is a mail port.
Which ports are tried is said by `mailport-plans'.  The TLS mode is that of
the plan, whatever the type in PARAMETERS: with type nil there is no
connection in cleartext unless the plan says so.

NAME, BUFFER, HOST and SERVICE stay what they are for everything that follows,
such as certificates and passwords.

While it waits, timers, redisplay, processes and \\[keyboard-quit] work.  A
quit closes everything.

Signal `mailport-misuse-error', `mailport-resolve-error' or
`mailport-connect-error', all of which are a `mailport-error'; see
`mailport-error-attempts'."
  (let ((plan (mailport--plan host service parameters)))
    (unless plan
      (mailport--misuse "%s is no mail port of %s: `mailport-plans' may say so" service host))
    (mailport--open plan name buffer host service parameters)))

;;;###autoload
(defun mailport-open-network-stream-async (callback name buffer host service &rest parameters)
  "Open a stream to a mail server, and do not wait for it.
CALLBACK is called once with what that would return, or with the error: a list
of the condition and its data.  NAME, BUFFER, HOST, SERVICE and PARAMETERS are
as there.  Arguments that cannot work are an error at once.

The server's greeting is waited for in the same way, so that only what
follows, STARTTLS and the like, keeps Emacs waiting for a few round trips.

Return a process that stands for the dial and the greeting: to delete it, before
CALLBACK is called, cancels them.  CALLBACK is then given an error."
  (let ((plan (mailport--plan host service parameters))
        (open (list name buffer host service parameters)))
    (unless plan
      (mailport--misuse "%s is no mail port of %s: `mailport-plans' may say so" service host))
    (mailport--check host plan parameters)
    (mailport--prepare)
    (mailport--dial-pipe
     (mailport--start host plan
                      :on-question #'mailport--ask-soon
                      :on-end (lambda (dial)
                                ;; Not in a filter, where C-g does not work.
                                (run-at-time 0 nil #'mailport--arrive dial callback open))))))

;;;; The mode

(defun mailport--around (open name buffer host service &rest parameters)
  "Dial if this is mail, or call OPEN.
NAME, BUFFER, HOST, SERVICE and PARAMETERS are as in `open-network-stream'."
  (let ((plan (and (not (mailport--is-for mailport--passage host service))
                   (mailport--plan host service parameters))))
    (if plan
        (mailport--open plan name buffer host service parameters)
      (apply open name buffer host service parameters))))

;;;###autoload
(define-minor-mode mailport-mode
  "Reach mail servers on their best port, without freezing.
Every stream that is opened to a mail port by `open-network-stream' is dialled
by mailport: see `mailport-open-network-stream' and `mailport-plans'.
Anything else is untouched."
  :global t
  :group 'mailport
  (advice-remove 'open-network-stream #'mailport--around)
  (when mailport-mode
    (setq mailport-mode nil)
    (mailport--prepare)
    (setq mailport-mode t)
    (advice-add 'open-network-stream :around #'mailport--around)))

;;;###autoload
(defun mailport-forget (host)
  "Forget what was remembered of HOST; of every host if that is empty."
  (interactive "sForget what is remembered of host (empty: of all): ")
  (mailport--load)
  (let ((count (mailport-module-forget (puny-encode-domain host))))
    (when (stringp count)
      (mailport--misuse "%s" count))
    (message "Forgot %d outcome%s" count (if (= count 1) "" "s"))))

(provide 'mailport)

;;; mailport.el ends here
