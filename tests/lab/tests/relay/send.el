;;; send.el --- Send one letter through a relay  -*- lexical-binding: t; no-byte-compile: t; -*-

;;; Commentary:

;; What to do is in the environment.  Nothing of smtpmail and Mew is changed; what is set is what
;; their manuals have for a server, its port and its TLS.

;;; Code:

(require 'smtpmail)
(require 'gnutls)
(require 'nsm)
(require 'socks)

(defun lab-get (name)
  "Return the environment's NAME, nil if it is empty."
  (let ((value (getenv (concat "LAB_" name))))
    (and value (not (equal value "")) value)))

(defconst lab-host (lab-get "HOST"))
(defconst lab-port (string-to-number (lab-get "PORT")))
(defconst lab-head "From: sender@example.test\nTo: reader@example.test\nSubject: ")

(setq gnutls-trustfiles (list (lab-get "CERTIFICATE"))
      nsm-settings-file (expand-file-name "nsm" (getenv "HOME"))
      auth-sources nil
      user-mail-address "sender@example.test"
      user-full-name "Sender"
      socks-server (list "relay" "127.0.0.1" 1080 5)
      make-backup-files nil)

;; socks.el offers plain streams to who asks it.  So it is asked where network-stream.el, before TLS,
;; and Mew make theirs.
(defvar lab-name nil "How the stream that socks.el makes is to be named: Mew knows it by that.")

(defun lab-by-socks (make &rest arguments)
  "Make a stream by socks.el where it leads to the server, else by MAKE and ARGUMENTS."
  (if (not (equal (plist-get arguments :host) lab-host))
      (apply make (if lab-name (plist-put (copy-sequence arguments) :name lab-name) arguments))
    (let* ((lab-name (plist-get arguments :name))
           (stream (socks-open-network-stream
                    lab-name (plist-get arguments :buffer) lab-host lab-port))
           ;; What came with the reply, which has ten bytes, socks.el forgets.
           (more (substring (process-get stream 'socks-response) 10)))
      (unless (equal more "")
        (run-at-time 0 nil (lambda () (funcall (process-filter stream) stream more))))
      stream)))

(defun lab-keep (filter stream bytes)
  "Add what comes right after the reply to it, which socks.el's FILTER drops.
STREAM and BYTES are those of the filter."
  (if (eql (process-get stream 'socks-state) socks-state-connected)
      (process-put stream 'socks-response (concat (process-get stream 'socks-response) bytes))
    (funcall filter stream bytes)))

(when (lab-get "SOCKS")
  (advice-add 'socks-filter :around #'lab-keep)
  (advice-add 'make-network-process :around #'lab-by-socks))

(defun lab-send ()
  "Send a letter by smtpmail, and return nil or what went wrong."
  (setq smtpmail-smtp-server lab-host
        smtpmail-smtp-service lab-port
        smtpmail-stream-type (if (= lab-port 465) 'tls 'starttls)
        smtpmail-local-domain "client.example.test")
  (with-temp-buffer
    (insert lab-head (lab-get "SUBJECT") "\n" mail-header-separator
            "\n.\n..\nFrom here\nthe last line\n")
    (condition-case error
        (progn (smtpmail-send-it) nil)
      ((error quit) (format "%S: %s" (car error) (error-message-string error))))))

(defun lab-send-by-mew ()
  "Send a letter by Mew, and return nil or what went wrong.
Its TLS is stunnel's, which Mew starts; none through SOCKS, where stunnel does not lead."
  (add-to-list 'load-path "/usr/share/emacs/site-lisp/mew")
  (add-to-list 'exec-path (lab-get "STUNNEL"))
  (setenv "PATH" (concat (lab-get "STUNNEL") ":" (getenv "PATH")))
  (let ((home (file-name-as-directory (getenv "HOME"))) (said nil))
    (setq mew-rc-file nil mew-mail-path (concat home "Mail") mew-conf-path mew-mail-path
          mew-use-cached-passwd nil mew-mail-domain "example.test" mew-name "Sender"
          mew-user "sender" mew-smtp-server lab-host mew-smtp-port (lab-get "PORT")
          mew-smtp-user nil mew-use-smtp-auth nil mew-use-biff nil
          mew-smtp-ssl (not (lab-get "SOCKS")) mew-smtp-ssl-port (lab-get "PORT")
          mew-prog-ssl "stunnel4" mew-ssl-verify-level 2 mew-ssl-cert-directory home
          mew-prog-ssl-arg (format "CAfile=%s\n" (lab-get "CERTIFICATE")))
    (require 'mew)
    (require 'mew-smtp)
    ;; What `mew' does when it starts, but for the windows.
    (require 'mew-unix)
    (require 'mew-varsx)
    (mew-regex-setup)
    (mew-set-environment)
    (mew-ssl-setup)
    (cl-letf (((symbol-function 'message-box)
               (lambda (format &rest arguments)
                 (push (apply #'format format arguments) said))))
      (let* ((folder (expand-file-name "queue" mew-mail-path))
             (file (expand-file-name "1" folder)))
        (make-directory folder t)
        (with-temp-file file
          (insert lab-head (lab-get "SUBJECT") "\n\n.\n..\nFrom here\nthe last line\n"))
        (mew-lisp-save (concat file mew-queue-info-suffix)
                       (vector nil '("reader@example.test") '("reader@example.test") nil nil
                               "<1@example.test>" "now" mew-case-default))
        (mew-smtp-flush-queue mew-case-default "+queue")
        (with-timeout (60 (push "nothing happens" said))
          (while (mew-smtp-get-server (mew-smtp-info-name mew-case-default))
            (accept-process-output nil 0.05))))
      (car said))))

(princ (format "RESULT %S\n" (if (lab-get "MEW") (lab-send-by-mew) (lab-send))))

;;; send.el ends here
