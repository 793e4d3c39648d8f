;;; mailport-mew.el --- Fallback between ports for Mew  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; The fallback from the Submission port to the SMTP port was written for Mew, over
;; IPv4 alone.  For the second port it blocked Emacs, and Mew 6.11 has removed it.
;;
;;     (mailport-mew-mode 1)
;;
;; gives the fallback to Mew 6.8 to 6.11, over both families, without blocking.
;;
;; Mew opens every connection by its own function `mew-open-network-stream'.  For a
;; connection without TLS it gets a process immediately, which receives nothing
;; until the dial is connected.  Connections of Mew 6.10 and later with TLS use
;; `open-network-stream', and are dialled as by `mailport-mode'.  Connections through
;; SSH or stunnel are left to Mew.

;;; Code:

(require 'mailport)

(defvar mew-use-submission)
(declare-function mew-smtp-sentinel "mew-smtp")
(declare-function mew-smtp-ssh-server "mew-config")
(declare-function mew-smtp-ssl "mew-config")

(defcustom mailport-mew-plan "587:cleartext,25:cleartext"
  "The plan for connections that Mew opens without TLS.
Mew does not use TLS there, so every service must be \"cleartext\".
A plan in `mailport-plans' has priority.
The default is \"587:cleartext,25:cleartext\"."
  :type 'string
  :group 'mailport)

(defun mailport-mew--plan (host port)
  "Return the plan for PORT of HOST, or nil."
  (let* ((number (mailport--port port))
         (custom (and number (mailport--custom host number))))
    (cond (custom (cdr custom))
          ((memq number '(25 587)) mailport-mew-plan))))

(defun mailport-mew--broken (process error)
  "Report to Mew that PROCESS has failed with ERROR."
  ;; Mew searches for the word "failed", and removes the last character.
  (mew-smtp-sentinel process (format "%s - failed\n" (error-message-string error))))

(defun mailport-mew--promise (plan name buffer server port)
  "Return a process NAME for BUFFER that will lead to PORT of SERVER by PLAN."
  (unless (equal '("cleartext") (delete-dups (mailport--modes plan)))
    (mailport--misuse "The plan %s for %s demands TLS, which Mew does not use there" plan server))
  (mailport--promise plan name server port #'mailport-mew--broken :buffer buffer))

(defun mailport-mew--dial (open arguments)
  "Call OPEN with ARGUMENTS, and dial the stream that it opens."
  (if mailport-mode
      (apply open arguments)
    (advice-add 'open-network-stream :around #'mailport--around '((depth . -100)))
    (unwind-protect (apply open arguments)
      (unless mailport-mode
        (advice-remove 'open-network-stream #'mailport--around)))))

(defun mailport-mew--open (open name buffer server port &rest more)
  "Return a process NAME for BUFFER that will lead to PORT of SERVER.
Call OPEN with that and MORE if this is not SMTP.
Since Mew 6.10, MORE begins with the protocol and whether TLS is used."
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
  "Call FUNCTION with CASE and MORE, without Mew's own fallback.
Connections through SSH and stunnel, which mailport does not make, keep it."
  (let ((mew-use-submission (and (bound-and-true-p mew-use-submission)
                                 (or (mew-smtp-ssl case) (mew-smtp-ssh-server case)))))
    (apply function case more)))

(defconst mailport-mew--advice
  '((mew-open-network-stream . mailport-mew--open)
    ;; Both check whether Mew falls back.
    (mew-smtp-send-message . mailport-mew--once)
    (mew-smtp-info-name . mailport-mew--once))
  "Functions of Mew, and their advice while the mode is on.")

;;;###autoload
(define-minor-mode mailport-mew-mode
  "Let Mew fall back from the Submission port to the SMTP port.
This works over both families, and does not block Emacs."
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
