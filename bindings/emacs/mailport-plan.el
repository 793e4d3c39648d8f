;;; mailport-plan.el --- Which ports are tried, and with which TLS  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Whether a stream is mail, which services are tried for it, and that TLS is
;; never weaker than was asked.

;;; Code:

(require 'mailport-dial)

(defcustom mailport-plans
  '(("localhost" . nil) ("127.0.0.1" . nil) ("::1" . nil))
  "Plans by host: services in order of preference.
Each element is (HOST . PLAN).  HOST is a host, for the mail ports and those
of the plan, or \"HOST:PORT\", for that port alone.  PLAN is a string such as
\"587:starttls,25:starttls\" or \"465:implicit\", the name of a plan, or nil
to connect as Emacs does without mailport.

A host that is not here has a plan by its port and by the kind of stream that
is asked for.  25 and 587 are \"submission\", 465 is \"submissions\", a TLS
stream is that port alone with TLS from the first byte, and a plain stream is
that port alone in cleartext.

Only a plan that says \"none\" allows cleartext where no plain stream was
asked for."
  :type '(alist :key-type (string :tag "Host")
                :value-type (choice (const :tag "As without mailport" nil)
                                    (const "submission") (const "submissions")
                                    (const "rfc8314") (const "symmetric") (const "mew")
                                    (string :tag "Services")))
  :group 'mailport)

(defconst mailport--ports '(("smtp" . 25) ("submission" . 587) ("submissions" . 465)
                            ("smtps" . 465))
  "The names of mail ports.")

(defun mailport--port (service)
  "Return the number of the port SERVICE, or nil if that is not known."
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
                 (and (cdr found) (memq port (mailport--ports-of (cdr found)))))
             found))))

(defun mailport--raw-p (parameters)
  "Whether PARAMETERS of a stream ask for a connection and no TLS."
  (let ((type (plist-get parameters :type)))
    (or (eq type 'plain)
        (and (memq type '(nil network))
             (not (and (plist-get parameters :success)
                       (plist-get parameters :capability-command)))))))

(defun mailport--plan (host service parameters)
  "Return the plan for a stream to SERVICE of HOST with PARAMETERS, or nil.
Nil means that this is no mail, and none of our business."
  (let* ((type (plist-get parameters :type))
         (port (mailport--port service))
         (custom (and port (stringp host) (mailport--custom host port))))
    (cond ((or (null port) (not (stringp host)) (eq type 'shell)) nil)
          (custom (cdr custom))
          ((not (memq port '(25 465 587))) nil)
          ((memq type '(tls ssl)) (format "%d:implicit" port))
          ((mailport--raw-p parameters) (format "%d:none" port))
          ((eql port 465) "submissions")
          (t "submission"))))

(defun mailport--modes (plan)
  "Return the TLS modes that PLAN names, as strings."
  (pcase plan
    ("submissions" '("implicit"))
    ("rfc8314" '("implicit" "starttls"))
    ((or "submission" "symmetric" "mew") '("starttls"))
    (_ (mapcar (lambda (service) (cadr (split-string service ":")))
               (split-string plan "," t "[ ]+")))))

(defun mailport--check (host plan parameters)
  "Signal an error unless PARAMETERS can keep to the PLAN for HOST."
  (let ((modes (mailport--modes plan))
        (type (plist-get parameters :type)))
    (when (and (member "none" modes) (memq type '(starttls tls ssl)))
      (mailport--misuse "The plan %s for %s has cleartext, and %s is asked for"
                        plan host type))
    (when (and (member "starttls" modes)
               (not (and (plist-get parameters :success)
                         (plist-get parameters :capability-command)
                         (plist-get parameters :starttls-function))))
      (mailport--misuse "The plan %s for %s demands STARTTLS, and %s" plan host
                        "whoever opens this stream does not say how"))))

(defun mailport--type (tls parameters)
  "Return the type of a stream of mode TLS that PARAMETERS ask for."
  (pcase tls
    ('implicit 'tls)
    ('starttls 'starttls)
    ;; Only a plan or a type that says so leads here.
    (_ (plist-get parameters :type))))

(provide 'mailport-plan)

;;; mailport-plan.el ends here
