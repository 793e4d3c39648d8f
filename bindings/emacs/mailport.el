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

(require 'cl-lib)
(require 'puny)
(require 'tabulated-list)

(defconst mailport-version "0.1.0"
  "The version of this file, which the module must share.")

(defgroup mailport nil
  "Reach a mail server on its best port without freezing."
  :group 'mail
  :group 'comm
  :prefix "mailport-")

(defconst mailport--here
  (file-name-directory (or load-file-name buffer-file-name default-directory))
  "The folder of this file.")

;;;; What the user sets

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
                                    (string :tag "Services"))))

(defmacro mailport--defseconds (name doc)
  "Define the option NAME, a number of seconds or nil, documented by DOC."
  (declare (indent 1) (doc-string 2))
  `(defcustom ,name nil
     ,(concat doc "\nNil is the default of mailport.")
     :type '(choice (const :tag "Default" nil) (number :tag "Seconds"))
     :group 'mailport))

(mailport--defseconds mailport-resolution-delay
  "Seconds that the addresses of one family wait for those of the other.")
(mailport--defseconds mailport-attempt-delay
  "Seconds of silence after which the next address is tried too.")
(mailport--defseconds mailport-port-delay
  "Seconds of silence after which the next port is tried too.")
(mailport--defseconds mailport-patience
  "Seconds for which silence may hold back the connection of a later port.")
(mailport--defseconds mailport-deadline
  "Seconds that a dial may take.")

(defcustom mailport-families 'any
  "Which address families are used, and which goes first."
  :type '(choice (const :tag "Both" any) (const :tag "IPv4 only" ipv4)
                 (const :tag "IPv6 only" ipv6) (const :tag "Both, IPv4 first" prefer-ipv4)
                 (const :tag "Both, IPv6 first" prefer-ipv6)))

(defcustom mailport-ask nil
  "Whether to ask before another port is tried.
No packet goes there before the answer."
  :type 'boolean)

(defcustom mailport-ask-default 'fall-back
  "What is answered where nobody can be asked, as in batch mode."
  :type '(choice (const :tag "Fall back" fall-back) (const :tag "Wait on" wait-on)
                 (const :tag "Give up" give-up)))

(defcustom mailport-memory 'file
  "Whether dials remember what earlier ones found in the same network.
A later dial then does not wait again for what was silent, and answers
that were given for good are taken.  With `file', this is shared with
the other programs of mailport, in ~/.cache/mailport."
  :type '(choice (const :tag "No" nil) (const :tag "In this Emacs" session)
                 (const :tag "In a file" file)))

(defcustom mailport-via nil
  "A proxy or a command that every dial goes through, or nil.
This is \"socks5://[USER:PASSWORD@]HOST[:PORT]\", or \"command:\" and the
words of a command, in which %h is the host and %p the port."
  :type '(choice (const :tag "None" nil) string)
  :risky t)

(defcustom mailport-handoff 'relay
  "How a connection that was reached gets into Emacs.
With `relay', a local socket leads to Emacs, and the module joins the two.
With `dup2', the module puts the connection in the place of Emacs' own end of
that socket.  Nothing is relayed then, but Emacs is not asked."
  :type '(choice (const relay) (const :tag "dup2 (a hack)" dup2)))

(defcustom mailport-verbose t
  "Whether the echo area says what a dial is doing."
  :type 'boolean)

(defcustom mailport-report-length 20
  "How many dials `mailport-report' shows."
  :type 'natnum)

(defcustom mailport-greeting-timeout 300
  "Seconds that a dial in the background waits for a server's greeting.
See `mailport-open-network-stream-async'.
The default is that of RFC 5321 section 4.5.3.2."
  :type 'number)

;;;; Errors

(define-error 'mailport-error "Mail server not reached")
(define-error 'mailport-misuse-error "Mail server cannot be dialled so" 'mailport-error)
(define-error 'mailport-resolve-error "Mail server not found" '(mailport-error file-error))
(define-error 'mailport-connect-error "Mail server not reached" '(mailport-error file-error))

(defun mailport-error-attempts (error)
  "Return the attempts that led to ERROR, a list of property lists.
ERROR is what `condition-case' binds.  Each attempt has :port, :tls, :family,
:address, :started and :ended in milliseconds, :outcome, :case, :errno,
:router, :syns, :note and :reason."
  (let ((words (cadr error)))
    (and (stringp words) (> (length words) 0)
         (get-text-property 0 'mailport-attempts words))))

(defun mailport--misuse (format &rest arguments)
  "Signal `mailport-misuse-error' with FORMAT and ARGUMENTS."
  (signal 'mailport-misuse-error (list (apply #'format-message format arguments))))

(defun mailport--error-of (report)
  "Return the error that REPORT, of a dial that failed, ends with."
  (list (if (eq (plist-get report :end) 'unresolved)
            'mailport-resolve-error
          'mailport-connect-error)
        ;; An error's further data would be shown with it, so they are with its words.
        (propertize (plist-get report :summary)
                    'mailport-attempts (plist-get report :attempts))))

(defun mailport--raise (error)
  "Signal ERROR, a condition and its data."
  (signal (car error) (cdr error)))

;;;; The module

(declare-function mailport-module-admit "mailport-module")
(declare-function mailport-module-answer "mailport-module")
(declare-function mailport-module-cancel "mailport-module")
(declare-function mailport-module-flush "mailport-module")
(declare-function mailport-module-forget "mailport-module")
(declare-function mailport-module-hand-over "mailport-module")
(declare-function mailport-module-listen "mailport-module")
(declare-function mailport-module-process "mailport-module")
(declare-function mailport-module-progress "mailport-module")
(declare-function mailport-module-question "mailport-module")
(declare-function mailport-module-report "mailport-module")
(declare-function mailport-module-start "mailport-module")
(declare-function mailport-module-timeline "mailport-module")
(declare-function mailport-module-version "mailport-module")

(defun mailport--load ()
  "Load the module, and see that it is of this version."
  (unless module-file-suffix
    (error "This Emacs was built without modules, which mailport needs"))
  (unless (featurep 'mailport-module)
    (let* ((name (concat "mailport-module" module-file-suffix))
           (file (expand-file-name name mailport--here)))
      (unless (file-exists-p file)
        (setq file (or (locate-library name t)
                       (error "The module %s is not in %s, where \"make emacs\" builds it"
                              name mailport--here))))
      (module-load file)
      (add-hook 'kill-emacs-hook #'mailport-module-flush)
      ;; To advise a primitive for the first time takes Emacs a third of a second.
      (mailport--open-passage)
      (mailport--close-passage)))
  (let ((version (mailport-module-version)))
    (unless (equal version mailport-version)
      (error "The loaded module is mailport %s and mailport.el is %s: %s" version mailport-version
             "build both with \"make emacs\", and restart Emacs"))))

;;;; Plans

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

(defun mailport--settings ()
  "Return the settings of a dial as the module takes them."
  (let (settings)
    (dolist (seconds '(resolution-delay attempt-delay port-delay patience deadline))
      (let ((value (symbol-value (intern (format "mailport-%s" seconds)))))
        (when value
          (push (cons (symbol-name seconds) (number-to-string value)) settings))))
    (push (cons "families" (symbol-name mailport-families)) settings)
    (push (cons "ask" (if mailport-ask "yes" "no")) settings)
    (when mailport-memory
      (push (cons "memory" (symbol-name mailport-memory)) settings))
    (when mailport-via
      (push (cons "via" mailport-via) settings))
    settings))

;;;; Dials

(cl-defstruct (mailport--dial (:constructor mailport--make-dial) (:copier nil))
  "A dial under way, or what is left of it."
  call                                  ; the module's object
  pipe                                  ; the process that the module wakes Emacs by
  host plan
  (began (current-time))
  status                                ; nil, `connected', `failed'
  question                              ; that it has stopped with
  shown                                 ; in the echo area
  on-question on-end)                   ; called with the dial; for who does not wait

(defvar mailport--history nil
  "The last dials that ended, youngest first.")

(defun mailport--start (host plan &rest slots)
  "Start to dial HOST by PLAN, and return the dial, with further SLOTS."
  (mailport--load)
  (let ((dial (apply #'mailport--make-dial :host host :plan plan slots))
        (pipe (make-pipe-process :name (format "mailport %s" host)
                                 :buffer (get-buffer-create " *mailport*")
                                 :noquery t :coding 'no-conversion
                                 :filter #'mailport--on-news
                                 :sentinel #'mailport--on-gone))
        call)
    (unwind-protect
        ;; Whether cleartext may be in it was decided by who chose the plan.
        (setq call (mailport-module-start pipe (puny-encode-domain host) plan t
                                          (mailport--settings)))
      (unless (user-ptrp call)
        (set-process-sentinel pipe #'ignore)
        (delete-process pipe)))
    (when (stringp call)
      (mailport--misuse "%s" call))
    (setf (mailport--dial-call dial) call
          (mailport--dial-pipe dial) pipe)
    (process-put pipe 'mailport-dial dial)
    (mailport--step dial)
    dial))

(defun mailport--on-news (pipe _bytes)
  "Go on with the dial of PIPE."
  (let ((dial (process-get pipe 'mailport-dial)))
    (when dial
      (mailport--step dial))))

(defun mailport--on-gone (pipe _event)
  "Cancel the dial whose PIPE somebody has deleted."
  (let ((dial (process-get pipe 'mailport-dial)))
    (when dial
      (mailport--cancel dial))))

(defun mailport--step (dial)
  "Do what can be done for DIAL now."
  (unless (mailport--dial-status dial)
    (let ((before (mailport--dial-question dial)))
      (pcase (mailport-module-process (mailport--dial-call dial))
        ('pending (setf (mailport--dial-question dial) nil))
        ('asking
         (setf (mailport--dial-question dial)
               (mailport-module-question (mailport--dial-call dial)))
         (unless (equal (plist-get before :number)
                        (plist-get (mailport--dial-question dial) :number))
           (when (mailport--dial-on-question dial)
             (funcall (mailport--dial-on-question dial) dial))))
        (status (mailport--end dial status))))))

(defun mailport--end (dial status)
  "Note that DIAL has ended with STATUS."
  (setf (mailport--dial-status dial) status
        (mailport--dial-question dial) nil)
  (let ((pipe (mailport--dial-pipe dial)))
    (set-process-sentinel pipe #'ignore)
    (process-put pipe 'mailport-dial nil)
    (delete-process pipe))
  (push dial mailport--history)
  (when (nthcdr mailport-report-length mailport--history)
    (setcdr (nthcdr (1- (max 1 mailport-report-length)) mailport--history) nil))
  (when (mailport--dial-on-end dial)
    (funcall (mailport--dial-on-end dial) dial)))

(defun mailport--cancel (dial)
  "Close everything of DIAL that was not handed over."
  (mailport-module-cancel (mailport--dial-call dial))
  (unless (mailport--dial-status dial)
    (mailport--end dial 'failed)))

(defun mailport--report (dial)
  "Return what DIAL did."
  (mailport-module-report (mailport--dial-call dial)))

(defun mailport--show (dial)
  "Say in the echo area what DIAL is doing, once that is worth it."
  (when (and mailport-verbose
             (> (float-time (time-since (mailport--dial-began dial))) 0.4))
    (let ((line (mailport-module-progress (mailport--dial-call dial))))
      (unless (equal line (mailport--dial-shown dial))
        (setf (mailport--dial-shown dial) line)
        (let ((message-log-max nil))
          (message "%s" line))))))

(defun mailport--wait (dial)
  "Wait until DIAL has ended, while Emacs lives."
  (while (not (mailport--dial-status dial))
    (cond ((mailport--dial-question dial) (mailport--ask dial))
          (t (mailport--show dial)
             (accept-process-output (mailport--dial-pipe dial) 0.25))))
  (when (and (mailport--dial-shown dial) (eq (mailport--dial-status dial) 'connected))
    (message "%s: %s" (mailport--dial-host dial) (plist-get (mailport--report dial) :summary))))

;;;; Asking

(defconst mailport--answers
  '((?f . (fall-back)) (?F . (fall-back . t))
    (?w . (wait-on)) (?W . (wait-on . t))
    (?g . (give-up)) (?G . (give-up . t)))
  "What each key answers, and whether for good.")

(defun mailport--ask (dial)
  "Have the question of DIAL answered.
It may be withdrawn meanwhile: then there is nothing to answer."
  (let* ((number (plist-get (mailport--dial-question dial) :number))
         (said (if noninteractive
                   (list mailport-ask-default)
                 (mailport--read-answer dial number))))
    (when said
      (mailport-module-answer (mailport--dial-call dial) number
                              (symbol-name (car said)) (cdr said))
      (mailport--step dial))))

(defun mailport--read-answer (dial number)
  "Read the answer to question NUMBER of DIAL, nil if it is withdrawn."
  (let ((prompt (concat (plist-get (mailport--dial-question dial) :words)
                        " [f]all back, [w]ait, [g]ive up; capital: always "))
        (message-log-max nil)
        answer)
    (while (and (null answer)
                (equal number (plist-get (mailport--dial-question dial) :number)))
      ;; Processes are served meanwhile, so an answer that comes too late is noticed.
      (let ((event (read-event (propertize prompt 'face 'minibuffer-prompt) nil 0.5)))
        (when (eql event ?\C-g)
          (signal 'quit nil))
        (setq answer (cdr (assq event mailport--answers)))))
    answer))

;;;; Streams

(cl-defstruct (mailport--passage (:constructor mailport--make-passage) (:copier nil))
  "The next connection to HOST and SERVICE, which is to be that of DIAL."
  dial host service
  process                               ; once it has been made
  greeted                               ; a process that is open already, and what it received
  used)

(defvar mailport--passage nil
  "The passage that the stream which is being opened shall take.")

(defvar mailport--passages 0
  "How many streams are being opened through a passage.")

(defun mailport--is-for (passage host service)
  "Whether PASSAGE waits for a connection to SERVICE of HOST."
  (and passage
       (not (mailport--passage-used passage))
       (stringp host)
       (equal service (mailport--passage-service passage))
       (equal (puny-encode-domain host) (mailport--passage-host passage))))

(defun mailport--trouble (words)
  "Signal an error of our own with WORDS, if there are any."
  (when words
    (signal 'mailport-connect-error (list words))))

(defun mailport--local-process (dial make arguments)
  "Have MAKE make a process with ARGUMENTS that leads to the module, for DIAL."
  (let* ((call (mailport--dial-call dial))
         (path (mailport-module-listen call))
         process done)
    (mailport--trouble (cdr-safe path))
    (unwind-protect
        (let ((given (cl-loop for (key value) on arguments by #'cddr
                              unless (memq key '(:host :service :family :server))
                              nconc (list key value))))
          (setq process (apply make :family 'local :service path given))
          (mailport--trouble (mailport-module-admit call))
          ;; Who asks for the contact is told what was asked for.
          (let ((contact (process-contact process t)))
            (plist-put contact :host (plist-get arguments :host))
            (plist-put contact :service (plist-get arguments :service)))
          (setq done t))
      (unless done
        (mailport-module-cancel call)
        (when process
          (delete-process process))))
    process))

(defun mailport--hand-over (dial)
  "Join the connection of DIAL to Emacs' local process."
  (mailport--trouble
   (mailport-module-hand-over (mailport--dial-call dial) (eq mailport-handoff 'dup2))))

(defun mailport--enter (passage make arguments)
  "Take PASSAGE with a process, made by calling MAKE with ARGUMENTS."
  (setf (mailport--passage-used passage) t)
  (let ((process (or (car (mailport--passage-greeted passage))
                     (mailport--local-process (mailport--passage-dial passage) make arguments))))
    (setf (mailport--passage-process passage) process)
    (if (mailport--passage-greeted passage)
        (mailport--adopt process (cdr (mailport--passage-greeted passage)) arguments)
      (mailport--hand-over (mailport--passage-dial passage)))
    process))

(defun mailport--adopt (process received arguments)
  "Give PROCESS, which has RECEIVED something, what ARGUMENTS asked for."
  (let ((buffer (plist-get arguments :buffer))
        (coding (plist-get arguments :coding)))
    (set-process-filter process nil)
    (set-process-sentinel process nil)
    (when coding
      (set-process-coding-system process (or (car-safe coding) coding)
                                 (or (cdr-safe coding) coding)))
    (when buffer
      (set-process-buffer process (get-buffer-create buffer))
      (with-current-buffer (process-buffer process)
        (goto-char (point-max))
        (insert received)
        (set-marker (process-mark process) (point))))))

(defun mailport--redirect (make &rest arguments)
  "Call MAKE with ARGUMENTS, or take the passage that waits for them."
  (if (mailport--is-for mailport--passage (plist-get arguments :host)
                        (plist-get arguments :service))
      (mailport--enter mailport--passage make arguments)
    (apply make arguments)))

(defvar nsm-trust-local-network)

(defun mailport--should-check (check host)
  "Call CHECK with HOST, unless its answer is known.
It looks the name up, which blocks Emacs, and then uses the addresses only if
`nsm-trust-local-network' is set."
  (if (and mailport--passage (not (bound-and-true-p nsm-trust-local-network)))
      t
    (funcall check host)))

(defun mailport--verify (verify process &rest arguments)
  "Call VERIFY with PROCESS and ARGUMENTS, unless there is no process.
Emacs has closed it where the server has no TLS, and then stumbles over
that instead of saying it."
  (and process (apply verify process arguments)))

(defun mailport--open-passage ()
  "Have connections looked at while a stream is being opened."
  (when (= 1 (cl-incf mailport--passages))
    (advice-add 'make-network-process :around #'mailport--redirect)
    (advice-add 'nsm-verify-connection :around #'mailport--verify)
    (advice-add 'nsm-should-check :around #'mailport--should-check)))

(defun mailport--close-passage ()
  "Leave connections alone, unless another stream is being opened."
  (when (= 0 (cl-decf mailport--passages))
    (advice-remove 'make-network-process #'mailport--redirect)
    (advice-remove 'nsm-verify-connection #'mailport--verify)
    (advice-remove 'nsm-should-check #'mailport--should-check)))

(defun mailport--stream (dial greeted name buffer host service parameters)
  "Open a stream over the connection of DIAL, as `open-network-stream' does.
GREETED is nil, or a process that leads there and what it has received.  NAME,
BUFFER, HOST, SERVICE and PARAMETERS are as there."
  (let* ((report (mailport--report dial))
         (mailport--passage (mailport--make-passage :dial dial :host (puny-encode-domain host)
                                                    :service service :greeted greeted))
         (type (mailport--type (plist-get report :tls) parameters))
         result done)
    (unless (eq (mailport--dial-status dial) 'connected)
      (mailport--raise (mailport--error-of report)))
    (mailport--open-passage)
    (unwind-protect
        (progn
          (setq result (apply #'open-network-stream name buffer host service
                              (plist-put (copy-sequence parameters) :type type)))
          (unless (mailport--passage-used mailport--passage)
            (let ((process (if (consp result) (car result) result)))
              (when (processp process)
                (delete-process process)))
            (mailport--trouble "Emacs did not take the connection, but made one of its own"))
          (setq done t))
      (mailport--close-passage)
      (unless done
        (mailport--cancel dial)
        (let ((process (mailport--passage-process mailport--passage)))
          (when process
            (delete-process process)))))
    result))

(defun mailport--open (plan name buffer host service parameters)
  "Open a stream by PLAN, with NAME, BUFFER, HOST, SERVICE and PARAMETERS."
  (mailport--check host plan parameters)
  (let ((dial (mailport--start host plan))
        done)
    (unwind-protect
        (progn
          (mailport--wait dial)
          (prog1 (mailport--stream dial nil name buffer host service parameters)
            (setq done t)))
      (unless done
        (mailport--cancel dial)))))

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

Return a process that stands for the dial: to delete it cancels the dial."
  (let ((plan (mailport--plan host service parameters))
        (open (list name buffer host service parameters)))
    (unless plan
      (mailport--misuse "%s is no mail port of %s: `mailport-plans' may say so" service host))
    (mailport--check host plan parameters)
    (mailport--dial-pipe
     (mailport--start host plan
                      :on-question #'mailport--ask-soon
                      :on-end (lambda (dial)
                                ;; Not in a filter, where C-g does not work.
                                (run-at-time 0 nil #'mailport--arrive dial callback open))))))

(defun mailport--ask-soon (dial)
  "Have the question of DIAL answered when Emacs is free."
  (run-at-time 0 nil (lambda ()
                       (when (mailport--dial-question dial)
                         (condition-case nil
                             (mailport--ask dial)
                           (quit (mailport--cancel dial)))))))

(defun mailport--arrive (dial callback open)
  "Go on with DIAL, which has ended, to open a stream with OPEN for CALLBACK."
  ;; An error of the callback is its own: nobody is called twice.
  (let* ((parameters (nth 4 open))
         (next
          (condition-case error
              (if (and (eq (mailport--dial-status dial) 'connected)
                       (plist-get parameters :end-of-command)
                       (not (plist-get parameters :nogreeting))
                       (not (eq (plist-get (mailport--report dial) :tls) 'implicit)))
                  (progn (mailport--await-greeting dial callback open) 'waiting)
                'deliver)
            ((error quit)
             (mailport--cancel dial)
             error))))
    (pcase next
      ('waiting nil)
      ('deliver (mailport--deliver dial nil callback open))
      (_ (funcall callback next)))))

(defun mailport--deliver (dial greeted callback open)
  "Open a stream over DIAL with OPEN, and give it to CALLBACK.
GREETED is as for `mailport--stream'."
  (funcall callback (condition-case error
                        (apply #'mailport--stream dial greeted open)
                      ((error quit) error))))

(defun mailport--await-greeting (dial callback open)
  "Wait for the server of DIAL to greet, and go on with CALLBACK and OPEN."
  (pcase-let* ((`(,name ,_ ,host ,service ,parameters) open)
               (end (plist-get parameters :end-of-command))
               (process (mailport--local-process
                         dial #'make-network-process
                         (list :name name :buffer nil :host host :service service
                               :coding 'binary :noquery t)))
               (received "")
               (timer nil)
               (go-on (lambda (result)
                        (cancel-timer timer)
                        (set-process-filter process t)
                        (set-process-sentinel process #'ignore)
                        (run-at-time 0 nil (lambda ()
                                             (set-process-filter process nil)
                                             (funcall result)))))
               (fail (lambda (words)
                       (delete-process process)
                       (funcall callback (list 'mailport-connect-error
                                               (format "%s: %s" host words))))))
    (setq timer (run-at-time mailport-greeting-timeout nil
                             (lambda ()
                               (funcall go-on (lambda () (funcall fail "no greeting"))))))
    (set-process-query-on-exit-flag process nil)
    (set-process-filter process
                        (lambda (_ bytes)
                          (setq received (concat received bytes))
                          (when (string-match-p end received)
                            (funcall go-on
                                     (lambda ()
                                       (mailport--deliver dial (cons process received)
                                                          callback open))))))
    (set-process-sentinel process
                          (lambda (&rest _)
                            (unless (process-live-p process)
                              (funcall go-on
                                       (lambda ()
                                         (funcall fail "closed before its greeting"))))))
    (mailport--hand-over dial)))

(defun mailport--promise (plan name host service on-failure &rest arguments)
  "Return a process NAME at once that will lead to SERVICE of HOST, by PLAN.
It is open from the beginning, and silent until the dial is connected.  When
that fails, ON-FAILURE is called with the process and the error, and the
process is deleted.  ARGUMENTS are further arguments of
`make-network-process'."
  (let ((dial nil) (process nil) (handed nil))
    (setq dial
          (mailport--start
           host plan
           :on-question #'mailport--ask-soon
           :on-end
           (lambda (dial)
             (run-at-time
              0 nil
              (lambda ()
                (let ((error (condition-case error
                                 (if (eq (mailport--dial-status dial) 'connected)
                                     (progn (mailport--hand-over dial) nil)
                                   (mailport--error-of (mailport--report dial)))
                               (error error))))
                  (setq handed (not error))
                  (when (and error (processp process))
                    (unwind-protect
                        (when (process-live-p process)
                          (funcall on-failure process error))
                      (set-process-sentinel process #'ignore)
                      (delete-process process)))))))))
    (setq process (mailport--local-process
                   dial #'make-network-process
                   (append (list :name name :host host :service service) arguments)))
    ;; Whoever deletes the process before it leads anywhere does not want the dial.
    (process-put process 'mailport-dial dial)
    (mailport--watch-promise process dial (lambda () handed))
    process))

(defun mailport--watch-promise (process dial handed)
  "Cancel DIAL when PROCESS is deleted before the function HANDED is true."
  (unless (or (mailport--dial-status dial) (funcall handed))
    (if (process-live-p process)
        (run-at-time 0.5 nil #'mailport--watch-promise process dial handed)
      (mailport--cancel dial))))

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
  (advice-remove 'open-network-stream #'mailport--around)
  (when mailport-mode
    (setq mailport-mode nil)
    (mailport--load)
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

;;;; The report

(defvar-local mailport-report--width 80
  "How wide the report is drawn.")

(define-derived-mode mailport-report-mode tabulated-list-mode "Mailport"
  "Major mode for the last dials, each with its attempts drawn below."
  (setq tabulated-list-format [("When" 9 t) ("Host" 28 t) ("Result" 0 nil)]
        tabulated-list-sort-key nil
        tabulated-list-printer #'mailport-report--print)
  (add-hook 'tabulated-list-revert-hook #'mailport-report--refresh nil t)
  (tabulated-list-init-header))

(defun mailport-report--refresh ()
  "Take the dials into the buffer's list."
  (setq mailport-report--width
        (max 60 (1- (let ((window (get-buffer-window)))
                      (if window (window-body-width window) 80))))
        tabulated-list-entries
        (mapcar (lambda (dial)
                  (list dial (vector (format-time-string "%H:%M:%S" (mailport--dial-began dial))
                                     (mailport--dial-host dial)
                                     (plist-get (mailport--report dial) :summary))))
                mailport--history)))

(defun mailport-report--print (dial columns)
  "Insert DIAL with its COLUMNS, and its attempts below."
  (tabulated-list-print-entry dial columns)
  (let ((drawing (mailport-module-timeline (mailport--dial-call dial) mailport-report--width)))
    (unless (equal drawing "")
      (insert (propertize (concat drawing "\n") 'tabulated-list-id dial 'face 'shadow)))
    (insert (propertize "\n" 'tabulated-list-id dial))))

;;;###autoload
(defun mailport-report ()
  "Show the last dials: when, where, how they ended, and every attempt."
  (interactive)
  (let ((buffer (get-buffer-create "*mailport report*")))
    (pop-to-buffer buffer)
    (mailport-report-mode)
    (mailport-report--refresh)
    (tabulated-list-print)
    (goto-char (point-min))))

(provide 'mailport)

;;; mailport.el ends here
