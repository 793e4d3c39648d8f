;;; mailport-plan.el --- Which ports are tried, and with which TLS  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Decides whether a stream is for mail, and which services are tried for it.  TLS
;; is never weaker than the caller asked for.

;;; Code:

(require 'mailport-dial)

(defcustom mailport-plans
  '(("localhost" . nil) ("127.0.0.1" . nil) ("::1" . nil))
  "Plans by host: services in order of preference.
Each element is (HOST . PLAN).  HOST is a host, for the mail ports and those of
the plan, or \"HOST:PORT\", for that port alone.  PLAN is a string such as
\"587:starttls,25:starttls\" or \"465:implicit\", the name of a plan, or nil
to connect as Emacs does without mailport.  The TLS modes are \"implicit\",
\"starttls\" and \"cleartext\".

For other hosts the plan depends on the port and the type of stream:

  587       587:starttls,25:starttls
  25        25:starttls,587:starttls
  465       465:implicit
  a stream of type `tls'    the port alone, with implicit TLS
  a stream of type `plain'  the port alone, in cleartext
  993, 143, 995, 110        the port alone, with the TLS of the stream's type

If `smtpmail-smtp-service' has its default, 25, no port was asked for, and
the plan is that of 587.  25 comes first if you have set it, also to 25, or for
one letter by its header X-Message-SMTP-Method.  If smtpmail was loaded before
mailport, only Customize shows that it was set to 25.

Cleartext is used only if the plan says so, or the stream is of type `plain', or
you have set port 25 for smtpmail, that port is reached, and the server does not
offer STARTTLS.  In that last case no password is sent.
The default leaves this machine alone."
  :type '(alist :key-type (string :tag "Host")
                :value-type (choice (const :tag "As without mailport" nil)
                                    (const "submission") (const "submissions")
                                    (const "rfc8314") (const "symmetric") (const "mew")
                                    (string :tag "Services")))
  :group 'mailport)

(defconst mailport--ports '(("smtp" . 25) ("submission" . 587) ("submissions" . 465)
                            ("smtps" . 465) ("imap" . 143) ("imap2" . 143) ("imaps" . 993)
                            ("pop3" . 110) ("pop-3" . 110) ("pop3s" . 995))
  "The mail ports by name.")

(defconst mailport--reading-ports '(110 143 993 995)
  "The ports of POP and IMAP.
They do not fall back to another port, and the type of a stream stays.")

(defconst mailport--plan-by-port '((587 . "587:starttls,25:starttls")
                                   (25 . "25:starttls,587:starttls")
                                   (465 . "465:implicit"))
  "The plan for each mail port.  The port that was asked for comes first.")

(defun mailport--port (service)
  "Return the number of the port SERVICE, or nil if it is unknown."
  (cond ((integerp service) service)
        ((not (stringp service)) nil)
        ((string-match-p "\\`[0-9]+\\'" service) (string-to-number service))
        (t (cdr (assoc service mailport--ports)))))

(defun mailport--ports-of (plan)
  "Return the numbers of the ports that PLAN names."
  (let ((start 0) ports)
    (while (string-match "\\(?:\\`\\|,\\)[ ]*\\([0-9]+\\)" plan start)
      (push (string-to-number (match-string 1 plan)) ports)
      (setq start (match-end 0)))
    ports))

(defun mailport--custom (host port)
  "Return the element of `mailport-plans' for PORT of HOST, or nil."
  (or (assoc-string (format "%s:%d" host port) mailport-plans t)
      (let ((found (assoc-string host mailport-plans t)))
        (and found
             (or (memq port '(25 465 587))
                 (and (null (cdr found)) (memq port mailport--reading-ports))
                 (and (cdr found) (memq port (mailport--ports-of (cdr found)))))
             found))))

(defun mailport--raw-p (parameters)
  "Whether PARAMETERS ask for a stream without TLS."
  (let ((type (plist-get parameters :type)))
    (or (eq type 'plain)
        (and (memq type '(nil network))
             (not (and (plist-get parameters :success)
                       (plist-get parameters :capability-command)))))))

(defun mailport--plan (host service parameters)
  "Return the plan for a stream to SERVICE of HOST with PARAMETERS, or nil.
Nil means that the stream is not for mail."
  (let* ((type (plist-get parameters :type))
         (port (mailport--port service))
         (custom (and port (stringp host) (mailport--custom host port))))
    (cond ((or (null port) (not (stringp host)) (eq type 'shell)) nil)
          (custom (cdr custom))
          ((not (memq port (append '(25 465 587) mailport--reading-ports))) nil)
          ((or (memq type '(tls ssl)) (plist-get parameters :tls-parameters))
           (format "%d:implicit" port))
          ((mailport--raw-p parameters) (format "%d:cleartext" port))
          ((memq port mailport--reading-ports) (format "%d:starttls" port))
          (t (cdr (assq port mailport--plan-by-port))))))

(defvar smtpmail-smtp-service)
(defvar smtpmail-store-queue-variables)

(defvar mailport--smtpmail-port-set 'unknown
  "Whether the port of the letter that is sent was set.
The Emacs that has queued it has recorded that.")

(defvar mailport--smtpmail-port-seen
  (and (not (featurep 'smtpmail)) (boundp 'smtpmail-smtp-service))
  "Whether `smtpmail-smtp-service' has been seen to be set.")

(defun mailport--see-smtpmail-port (_symbol _value operation _where)
  "Note that `smtpmail-smtp-service' was set, for the OPERATION `set'."
  (when (and (eq operation 'set)
             ;; Not by its own definition.
             (not (and load-file-name
                       (string-match-p "\\`smtpmail\\(?:\\.\\|-[[:xdigit:]]\\{8\\}-\\)"
                                       (file-name-nondirectory load-file-name)))))
    (setq mailport--smtpmail-port-seen t)))

(add-variable-watcher 'smtpmail-smtp-service #'mailport--see-smtpmail-port)

(defun mailport--smtpmail-port-set-p ()
  "Whether `smtpmail-smtp-service' was set, and does not have its default."
  (cond ((not (eq mailport--smtpmail-port-set 'unknown)) mailport--smtpmail-port-set)
        ((not (equal (bound-and-true-p smtpmail-smtp-service) 25)) t)
        (mailport--smtpmail-port-seen t)
        ((get 'smtpmail-smtp-service 'saved-value) t)
        ((get 'smtpmail-smtp-service 'customized-value) t)
        ;; X-Message-SMTP-Method binds both variables.
        (t (and (bound-and-true-p smtpmail-store-queue-variables)
                (not (default-toplevel-value 'smtpmail-store-queue-variables))))))

(defun mailport--plan-of-stream (name host service parameters)
  "Return the plan for the stream NAME to SERVICE of HOST with PARAMETERS, or nil.
Nil means that the stream is not for mail."
  (let ((plan (mailport--plan host service parameters)))
    (if (and (equal name "smtpmail")
             (equal plan (alist-get 25 mailport--plan-by-port))
             (not (mailport--custom host 25))
             (not (mailport--smtpmail-port-set-p)))
        (alist-get 587 mailport--plan-by-port)
      plan)))

(defun mailport--optional-tls-p (name host service parameters)
  "Whether the stream NAME to SERVICE of HOST may do without TLS on port 25.
That is so for smtpmail if the user has set that port, and neither the plan nor
PARAMETERS demand TLS.  smtpmail wants a warning before it asks for a password:
then TLS is demanded."
  (and (equal name "smtpmail")
       (equal (mailport--port service) 25)
       (memq (plist-get parameters :type) '(nil network))
       (not (plist-get parameters :warn-unless-encrypted))
       (not (mailport--custom host 25))
       (mailport--smtpmail-port-set-p)))

(defun mailport--modes (plan)
  "Return the TLS modes that PLAN names, as strings."
  (pcase plan
    ("submissions" '("implicit"))
    ("rfc8314" '("implicit" "starttls"))
    ((or "submission" "symmetric" "mew") '("starttls"))
    (_ (mapcar (lambda (service) (cadr (split-string service ":")))
               (remove "sequential" (split-string plan "," t "[ ]+"))))))

(defun mailport--reading-p (service)
  "Whether SERVICE is a port of POP or IMAP."
  (memq (mailport--port service) mailport--reading-ports))

(defun mailport--check (host service plan parameters)
  "Signal an error unless a stream can follow the PLAN for SERVICE of HOST.
PARAMETERS are those of the stream."
  (let ((modes (mailport--modes plan))
        (type (plist-get parameters :type)))
    (when (and (member "cleartext" modes) (memq type '(starttls tls ssl)))
      (mailport--misuse "The plan %s for %s allows cleartext, but the stream is of type %s"
                        plan host type))
    (when (and (member "starttls" modes)
               (not (mailport--reading-p service))
               (not (and (plist-get parameters :success)
                         (plist-get parameters :capability-command)
                         (plist-get parameters :starttls-function))))
      (mailport--misuse "The plan %s for %s demands STARTTLS, and %s" plan host
                        "the caller of `open-network-stream' does not support it"))))

(defun mailport--type (tls service parameters)
  "Return the type of stream for the mode TLS, SERVICE and PARAMETERS."
  (pcase tls
    ('implicit 'tls)
    ((and 'starttls (guard (not (mailport--reading-p service)))) 'starttls)
    ;; Cleartext: the plan or the type of the stream says so.
    (_ (plist-get parameters :type))))

(provide 'mailport-plan)

;;; mailport-plan.el ends here
