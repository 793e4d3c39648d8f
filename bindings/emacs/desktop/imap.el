;;; imap.el --- IMAP and POP by a server whose IPv6 is silent  -*- lexical-binding: t; -*-

;;; Commentary:

;; imap.sh has started a real server.  Gnus' nnimap and pop3 must connect by IPv4, without freezing
;; Emacs, and with TLS that verifies the server's name.

;;; Code:

(require 'mailport-tests)
(require 'nnimap)
(require 'pop3)
(require 'gnutls)

(defconst imap-host "mail.example.test")
(setq gnutls-trustfiles (list (getenv "CERTIFICATE"))
      auth-sources (list (getenv "LOGINS"))
      mailport-cache nil mailport-verbose nil
      nnimap-record-commands nil)
(mailport-mode 1)

(defun imap-check (name open)
  "Call OPEN, which connects to the service NAME, and see that Emacs does not freeze."
  (setq mailport--history nil)
  (let ((before (float-time)))
    (mailport-tests--ticking
     (unless (funcall open)
       (error "%s: not opened" name)))
    (let ((report (mailport--report (car mailport--history))))
      (message "%s: %s, opened after %.2f s, the longest gap was %d ms" name
               (plist-get report :summary) (- (float-time) before)
               (* 1000 mailport-tests--gap))
      (unless (eq 'ipv4 (plist-get report :family))
        (error "%s: not over IPv4" name))
      (when (or (cdr mailport--history) (< 1.5 mailport-tests--gap))
        (error "%s: Emacs froze, or there were several dials" name)))))

(unless (gnutls-trustfiles)
  (error "No trust"))
(pcase-dolist (`(,port ,stream) '((993 ssl) (143 starttls) (143 network)))
  (imap-check (format "IMAP %d, %s" port stream)
              (lambda ()
                (nnoo-define-skeleton-1 'nnimap)
                (prog1 (nnimap-open-server (format "s%d%s" port stream)
                                           `((nnimap-address ,imap-host)
                                             (nnimap-server-port ,port)
                                             (nnimap-user "me")
                                             (nnimap-stream ,stream)))
                  (ignore-errors (nnimap-close-server))))))
(pcase-dolist (`(,port ,stream) '((995 ssl) (110 starttls)))
  (imap-check (format "POP %d, %s" port stream)
              (lambda ()
                (let ((pop3-stream-type stream) (pop3-maildrop "me"))
                  (let ((process (pop3-open-server imap-host port)))
                    (prog1 (process-live-p process)
                      (unless (plist-get (process-contact process t) :host)
                        (error "No host"))
                      (pop3-user process "me")
                      (let ((pop3-password "secret")) (pop3-pass process))
                      (pop3-quit process)))))))

;; A stream with TLS that does not wait.
(let ((done nil) (before (float-time)))
  (let ((process (open-network-stream "nowait" (get-buffer-create " *nowait*") imap-host 993
                                      :type 'tls :nowait t)))
    (when (< 0.2 (- (float-time) before))
      (error "It waits"))
    (set-process-sentinel process (lambda (_ event) (setq done event)))
    (with-timeout (20 (error "No TLS: %S" (process-status process)))
      (while (not (with-current-buffer " *nowait*"
                    (string-match-p "^\\* OK" (buffer-string))))
        (accept-process-output nil 0.05)))
    (unless (and (equal done "open\n") (gnutls-peer-status process))
      (error "Not as Emacs' own: %S" done))
    (message "A stream with TLS and :nowait is open")))

;;; imap.el ends here
