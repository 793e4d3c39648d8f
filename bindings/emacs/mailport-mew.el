;;; mailport-mew.el --- Mew falls back again, without waiting  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; The fallback from the Submission port to the SMTP port was written for Mew.
;; Mew did it over IPv4 alone, waited ten seconds, and waited again, blocking
;; Emacs, for the second port; since 6.10 it does it no more.  With
;;
;;     (mailport-mew-mode 1)
;;
;; Mew 6.8 to 6.11 falls back over both families, and never blocks.
;;
;; This is for connections that Mew opens without TLS.  Those of Mew 6.10 and
;; later with TLS go through `open-network-stream', and so are a matter of
;; `mailport-mode'.

;;; Code:

(require 'mailport)

(defvar mew-use-submission)
(declare-function mew-smtp-sentinel "mew-smtp")

(defcustom mailport-mew-plan "587:none,25:none"
  "The plan for connections that Mew opens without TLS.
It has no TLS, for Mew speaks none there.  Hosts that
`mailport-plans' names have theirs."
  :type 'string
  :group 'mailport)

(defvar mailport-mew--use-submission nil
  "What `mew-use-submission' was before, in a list; nil while the mode is off.")

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

(defun mailport-mew--open (open name buffer server port &rest more)
  "Return a process NAME for BUFFER that will lead to PORT of SERVER.
Call OPEN with that and MORE where this is not SMTP without TLS.  What
follows in MORE since Mew 6.10 is the protocol, and whether TLS is used."
  (let ((plan (and (stringp server)
                   (memq (if more (car more) 'smtp) '(smtp))
                   (not (cadr more))
                   (mailport-mew--plan server port))))
    (cond ((not plan) (apply open name buffer server port more))
          ((not (equal '("none") (delete-dups (mailport--modes plan))))
           (mailport--misuse "The plan %s for %s demands TLS, and Mew speaks none there"
                             plan server))
          (t (let ((process (mailport--promise plan name server port #'mailport-mew--broken
                                               :buffer buffer)))
               ;; Since 6.10, a stream and its properties.
               (if more (list process :type 'plain) process))))))

;;;###autoload
(define-minor-mode mailport-mew-mode
  "Have Mew fall back from the Submission port to the SMTP port.
It does so over both families, and Emacs never waits."
  :global t
  :group 'mailport
  (advice-remove 'mew-open-network-stream #'mailport-mew--open)
  (if (not mailport-mew-mode)
      (when mailport-mew--use-submission
        (setq mew-use-submission (car mailport-mew--use-submission)
              mailport-mew--use-submission nil))
    (setq mailport-mew-mode nil)
    (mailport--load)
    (unless mailport-mew--use-submission
      (setq mailport-mew--use-submission (list (bound-and-true-p mew-use-submission))))
    (setq mailport-mew-mode t
          ;; Mew's own way to fall back.
          mew-use-submission nil)
    (advice-add 'mew-open-network-stream :around #'mailport-mew--open)))

(provide 'mailport-mew)

;;; mailport-mew.el ends here
