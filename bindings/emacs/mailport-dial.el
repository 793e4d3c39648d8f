;;; mailport-dial.el --- One dial, from its start to its end  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; A dial is an object of the module.  A timer processes it, at first every few
;; milliseconds, so that a dial needs no process and no thread.

;;; Code:

(require 'cl-lib)
(require 'puny)
(require 'mailport-load)

;;;; Options

(defmacro mailport--defseconds (name default doc)
  "Define the option NAME, a number of seconds or nil, documented by DOC.
Nil means DEFAULT, a number or a string that describes it."
  (declare (indent 2) (doc-string 3))
  `(defcustom ,name nil
     ,(format "%s\nNil means the default, %s." doc
              (if (numberp default) (format "%s s" default) default))
     :type '(choice (const :tag "Default" nil) (number :tag "Seconds"))
     :group 'mailport))

(mailport--defseconds mailport-attempt-delay 0.25
  "Seconds of silence after which the next address is tried in parallel.")
(mailport--defseconds mailport-port-delay 0.5
  "Seconds of silence after which the next port is tried in parallel.")
(mailport--defseconds mailport-patience
    "1.3 s at least, unless a later port proves more"
  "Seconds for which a silent attempt may hold back the connection of a later port.")
(mailport--defseconds mailport-timeout 30
  "Seconds after which a dial fails.")

(defcustom mailport-greeting-wait nil
  "Seconds to wait for the server's greeting before a connection counts.
If the server closes the connection meanwhile, the next port is tried.
If it says nothing for the whole time, the connection counts.
Nil means the default: 10 s if `mailport-via' is set, and no wait otherwise.
The symbol `off' means no wait.  Ports are then tried one after the other."
  :type '(choice (const :tag "Default" nil) (const :tag "No wait" off)
                 (number :tag "Seconds"))
  :group 'mailport)

(defcustom mailport-try-failed-last nil
  "Whether ports that failed before are tried last instead of first.
The cache says which these are.  A port with weaker TLS never comes before one
with stronger TLS.  The default is nil."
  :type 'boolean
  :group 'mailport)

(defcustom mailport-sequential nil
  "Whether the next port is tried only after all of the one before has failed.
A silent port has failed after `mailport-patience'.  The default is nil: ports
are tried in parallel after `mailport-port-delay'."
  :type 'boolean
  :group 'mailport)

(defcustom mailport-families 'any
  "The address families to use, and which of them goes first.
The default is `any': both, in the order of the name service."
  :type '(choice (const :tag "Both" any) (const :tag "IPv4 only" ipv4)
                 (const :tag "IPv6 only" ipv6) (const :tag "Both, IPv4 first" prefer-ipv4)
                 (const :tag "Both, IPv6 first" prefer-ipv6))
  :group 'mailport)

(defcustom mailport-ask nil
  "Whether to ask before another port is tried.
No packet is sent to that port before the answer.  The default is nil."
  :type 'boolean
  :group 'mailport)

(defcustom mailport-ask-default 'fall-back
  "The answer where the user cannot be asked, as in batch mode.
The default is `fall-back'."
  :type '(choice (const :tag "Fall back" fall-back) (const :tag "Wait on" wait-on)
                 (const :tag "Give up" give-up))
  :group 'mailport)

(defcustom mailport-cache 'file
  "Where dials store the outcomes of earlier dials in the same network.
With the cache, a dial does not wait again for a port that was silent, and
remembered answers are used.  The default is `file', which is shared with the
other programs of mailport, in ~/.cache/mailport.  With `session' the cache
ends with Emacs; nil means no cache."
  :type '(choice (const :tag "No cache" nil) (const :tag "In this Emacs" session)
                 (const :tag "In a file" file))
  :group 'mailport)

(defcustom mailport-via nil
  "A SOCKS5 proxy or a command by which every dial connects, or nil.
A proxy is \"socks5://[USER:PASSWORD@]HOST[:PORT]\".  A command is \"command:\"
and a program with its arguments, in which %h is replaced by the host and %p by
the port.  The default is nil."
  :type '(choice (const :tag "None" nil) string)
  :risky t
  :group 'mailport)

(defcustom mailport-verbose t
  "Whether the echo area says what a dial is doing.
The default is t."
  :type 'boolean
  :group 'mailport)

(defcustom mailport-report-length 20
  "The number of dials that `mailport-report' shows.
The default is 20."
  :type 'natnum
  :group 'mailport)

;;;; Errors

(define-error 'mailport-error "Mail server not reached")
(define-error 'mailport-misuse-error "Mail server cannot be dialled" 'mailport-error)
(define-error 'mailport-resolve-error "Mail server not found" '(mailport-error file-error))
(define-error 'mailport-connect-error "Mail server not reached" '(mailport-error file-error))

(defvar mailport--attempts (make-hash-table :test 'eq :weakness 'key)
  "The attempts that led to an error, by the error's message.
They are not part of the error, so that it is short when it is printed.")

(defun mailport-error-attempts (error)
  "Return the attempts that led to ERROR, a list of property lists.
ERROR is what `condition-case' binds.  Each attempt has :port, :tls, :family,
:address, :started and :ended in milliseconds, :outcome, :errno, :sender, :syns,
:note and :reason."
  (gethash (cadr error) mailport--attempts))

(defun mailport--misuse (format &rest arguments)
  "Signal `mailport-misuse-error' with FORMAT and ARGUMENTS."
  (signal 'mailport-misuse-error (list (apply #'format-message format arguments))))

(defun mailport--error-of (report)
  "Return the error for REPORT of a dial that failed."
  (let ((message (copy-sequence (plist-get report :summary))))
    (puthash message (plist-get report :attempts) mailport--attempts)
    (list (if (eq (plist-get report :end) 'unresolved)
              'mailport-resolve-error
            'mailport-connect-error)
          message)))

(defun mailport--raise (error)
  "Signal ERROR, a condition and its data."
  (signal (car error) (cdr error)))

;;;; Dials

(declare-function mailport-module-answer "mailport-module")
(declare-function mailport-module-cancel "mailport-module")
(declare-function mailport-module-process "mailport-module")
(declare-function mailport-module-progress "mailport-module")
(declare-function mailport-module-question "mailport-module")
(declare-function mailport-module-report "mailport-module")
(declare-function mailport-module-start "mailport-module")

(cl-defstruct (mailport--dial (:constructor mailport--make-dial) (:copier nil))
  "A dial that runs or has ended."
  handle                                ; the module's object
  timer                                 ; processes it, until it has ended
  host plan
  (began (float-time))
  status                                ; nil, `connected' or `failed'
  question                              ; the question that it waits for, or nil
  shown                                 ; the line in the echo area
  cancelled                             ; whether `mailport-cancel' was called
  on-question                           ; in the background: called with the dial
  on-end                                ; the same
  on-cancel)                            ; after the dial: called without arguments

(defun mailport--settings ()
  "Return the settings of a dial as the module takes them."
  (let (settings)
    (pcase-dolist (`(,name . ,value)
                   `(("attempt-delay" . ,mailport-attempt-delay)
                     ("port-delay" . ,mailport-port-delay)
                     ("patience" . ,mailport-patience)
                     ("timeout" . ,mailport-timeout)
                     ("greeting-wait" . ,mailport-greeting-wait)
                     ("cache" . ,(or mailport-cache 'off))
                     ("families" . ,mailport-families)
                     ("via" . ,mailport-via)))
      (when value
        (push (cons name (format "%s" value)) settings)))
    (pcase-dolist (`(,name . ,value)
                   `(("ask" . ,mailport-ask)
                     ("sequential" . ,mailport-sequential)
                     ("try-failed-last" . ,mailport-try-failed-last)))
      (push (cons name (if value "yes" "no")) settings))
    settings))

(defvar mailport--history nil
  "The last dials that ended, the latest first.")

(defun mailport--start (host plan &rest slots)
  "Start to dial HOST by PLAN, and return the dial, with further SLOTS."
  (mailport--load)
  (let ((dial (apply #'mailport--make-dial :host host :plan plan slots))
        ;; Whether the plan may contain cleartext was decided by the caller.
        (handle (mailport-module-start (puny-encode-domain host) plan t (mailport--settings))))
    (when (stringp handle)
      (mailport--misuse "%s" handle))
    (setf (mailport--dial-handle dial) handle)
    (mailport--on-timer dial)
    dial))

(defun mailport--interval (dial)
  "Return the seconds after which DIAL is processed again.
This is short at first, and then a twentieth of the time that has passed."
  (max 0.002 (min 0.02 (* 0.05 (- (float-time) (mailport--dial-began dial))))))

(defun mailport--on-timer (dial)
  "Process DIAL, and again after a while until it has ended."
  (mailport--step dial)
  (unless (mailport--dial-status dial)
    (setf (mailport--dial-timer dial)
          (run-at-time (mailport--interval dial) nil #'mailport--on-timer dial))
    (when (and (mailport--dial-on-end dial) (not (active-minibuffer-window)))
      (mailport--show dial))))

(defun mailport--step (dial)
  "Process what has happened to DIAL, without blocking."
  (unless (mailport--dial-status dial)
    (let ((before (mailport--dial-question dial)))
      (pcase (mailport-module-process (mailport--dial-handle dial))
        ('pending (setf (mailport--dial-question dial) nil))
        ('asking
         (setf (mailport--dial-question dial)
               (mailport-module-question (mailport--dial-handle dial)))
         (unless (equal (plist-get before :number)
                        (plist-get (mailport--dial-question dial) :number))
           (when (mailport--dial-on-question dial)
             (funcall (mailport--dial-on-question dial) dial))))
        (status (mailport--end dial status))))))

(defun mailport--end (dial status)
  "Record that DIAL has ended with STATUS."
  (setf (mailport--dial-status dial) status
        (mailport--dial-question dial) nil)
  (when (mailport--dial-timer dial)
    (cancel-timer (mailport--dial-timer dial)))
  (push dial mailport--history)
  (when (nthcdr mailport-report-length mailport--history)
    (setcdr (nthcdr (1- (max 1 mailport-report-length)) mailport--history) nil))
  (when (mailport--dial-on-end dial)
    (when (eq status 'connected)
      (mailport--show dial))
    (funcall (mailport--dial-on-end dial) dial)))

(defun mailport--close (dial)
  "Close every descriptor of DIAL that was not handed over."
  (mailport-module-cancel (mailport--dial-handle dial))
  (unless (mailport--dial-status dial)
    (mailport--end dial 'failed)))

(defun mailport-cancel (dial)
  "Cancel DIAL, which `mailport-open-network-stream-async' returned.
Its callback is then called with an error, unless it has been called before."
  (setf (mailport--dial-cancelled dial) t)
  (mailport--close dial)
  (when (mailport--dial-on-cancel dial)
    (funcall (mailport--dial-on-cancel dial))))

(defun mailport--report (dial)
  "Return the report of DIAL."
  (mailport-module-report (mailport--dial-handle dial)))

(defun mailport--show (dial)
  "Say in the echo area what DIAL is doing, if it takes longer than 0.4 s.
At the end, say how it was connected if anything was said before."
  (pcase (mailport--dial-status dial)
    ('connected
     (when (mailport--dial-shown dial)
       (message "%s: %s" (mailport--dial-host dial)
                (plist-get (mailport--report dial) :summary))))
    ('nil
     (when (and mailport-verbose
                (> (- (float-time) (mailport--dial-began dial)) 0.4))
       (let ((line (mailport-module-progress (mailport--dial-handle dial))))
         (unless (equal line (mailport--dial-shown dial))
           (setf (mailport--dial-shown dial) line)
           (let ((message-log-max nil))
             (message "%s" line))))))))

(defun mailport--wait (dial)
  "Wait until DIAL has ended.
Meanwhile timers and processes run, and windows are redrawn."
  (let ((drawn 0))
    (while (not (mailport--dial-status dial))
      (if (mailport--dial-question dial)
          (mailport--ask dial)
        (mailport--show dial)
        ;; Waiting for processes redraws the echo area only.
        (when (< 0.05 (abs (- (float-time) drawn)))
          (redisplay t)
          (setq drawn (float-time)))
        (accept-process-output nil (mailport--interval dial))
        (mailport--step dial))))
  (mailport--show dial))

;;;; Asking

(defconst mailport--answers '((?f . fall-back) (?w . wait-on) (?g . give-up))
  "The answer for each key.")

(defun mailport--ask (dial)
  "Ask the question of DIAL, and answer it unless it is withdrawn meanwhile."
  (let* ((number (plist-get (mailport--dial-question dial) :number))
         (answer (if noninteractive
                     mailport-ask-default
                   (mailport--read-answer dial number)))
         (remember (and answer (not noninteractive) mailport-cache
                        (mailport--read-remember dial number))))
    (when answer
      (mailport-module-answer (mailport--dial-handle dial) number (symbol-name answer) remember)
      (mailport--step dial))))

(defun mailport--asking-p (dial number)
  "Whether question NUMBER of DIAL is still open."
  (equal number (plist-get (mailport--dial-question dial) :number)))

(defun mailport--read-key (dial number prompt)
  "Read a key with PROMPT while question NUMBER of DIAL is open, or return nil."
  (let ((message-log-max nil) (event nil))
    (while (and (null event) (mailport--asking-p dial number))
      ;; Timers run meanwhile, so a question that is withdrawn is noticed.
      (setq event (read-event (propertize prompt 'face 'minibuffer-prompt) nil 0.25)))
    (when (eql event ?\C-g)
      (signal 'quit nil))
    event))

(defun mailport--read-answer (dial number)
  "Read the answer to question NUMBER of DIAL, or return nil if it is withdrawn."
  (let ((prompt (concat (plist-get (mailport--dial-question dial) :message)
                        " [f]all back, [w]ait, [g]ive up, [?] "))
        answer event)
    (while (and (null answer)
                (setq event (mailport--read-key dial number prompt)))
      (setq answer (cdr (assq event mailport--answers)))
      (when (eql event ??)
        (mailport--explain dial)))
    (mailport--end-explanation)
    answer))

(defun mailport--read-remember (dial number)
  "Ask whether the answer to question NUMBER of DIAL is to be remembered."
  (memq (mailport--read-key dial number "Remember this answer for 30 days? [y/N] ") '(?y ?Y)))

(defun mailport--explain (dial)
  "Show what the question of DIAL is about."
  (with-help-window "*mailport question*"
    (princ (plist-get (mailport--dial-question dial) :message))
    (princ "\n
f  Fall back: try the next port.  TLS there is what the question says.
w  Wait: keep trying the port that is not available, and no other.
g  Give up: the connection fails, and nothing is sent.
C-g cancels the dial.

No packet is sent to the next port before you answer.  Then you are asked
whether the answer is to be remembered for 30 days, for this host in this
network.  `M-x mailport-forget' removes it.  `mailport-ask' is the option.\n")))

(defun mailport--end-explanation ()
  "Remove the window of `mailport--explain', if there is one."
  (let ((window (get-buffer-window "*mailport question*")))
    (when window
      (quit-window t window))))

(provide 'mailport-dial)

;;; mailport-dial.el ends here
