;;; mailport-dial.el --- One dial, from its start to its end  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; A dial is an object of the module, and a pipe process by which the module
;; wakes Emacs when the dial can go on.

;;; Code:

(require 'cl-lib)
(require 'puny)

(defconst mailport-version "0.1.0"
  "The version of these files, which the module must share.")

(defgroup mailport nil
  "Reach a mail server on its best port without freezing."
  :group 'mail
  :group 'comm
  :prefix "mailport-")

(defconst mailport--here
  (file-name-directory (or load-file-name buffer-file-name default-directory))
  "The folder of this file.")

;;;; What the user sets

(defmacro mailport--defseconds (name doc)
  "Define the option NAME, a number of seconds or nil, documented by DOC."
  (declare (indent 1) (doc-string 2))
  `(defcustom ,name nil
     ,(concat doc "\nNil is the default of mailport.")
     :type '(choice (const :tag "Default" nil) (number :tag "Seconds"))
     :group 'mailport))

(mailport--defseconds mailport-attempt-delay
  "Seconds of silence after which the next address is tried too.")
(mailport--defseconds mailport-port-delay
  "Seconds of silence after which the next port is tried too.")
(mailport--defseconds mailport-patience
  "Seconds for which silence may hold back the connection of a later port.")
(mailport--defseconds mailport-timeout
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

(defcustom mailport-cache 'file
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

(defcustom mailport-verbose t
  "Whether the echo area says what a dial is doing."
  :type 'boolean)

(defcustom mailport-report-length 20
  "How many dials `mailport-report' shows."
  :type 'natnum)

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

(declare-function mailport-module-answer "mailport-module")
(declare-function mailport-module-cancel "mailport-module")
(declare-function mailport-module-flush "mailport-module")
(declare-function mailport-module-process "mailport-module")
(declare-function mailport-module-progress "mailport-module")
(declare-function mailport-module-question "mailport-module")
(declare-function mailport-module-report "mailport-module")
(declare-function mailport-module-start "mailport-module")
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
      (add-hook 'kill-emacs-hook #'mailport-module-flush)))
  (let ((version (mailport-module-version)))
    (unless (equal version mailport-version)
      (error "The loaded module is mailport %s and mailport.el is %s: %s" version mailport-version
             "build both with \"make emacs\", and restart Emacs"))))

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
  on-question                           ; called with the dial; for who does not wait
  on-end)                               ; the same, and it releases the dial

(defun mailport--settings ()
  "Return the settings of a dial as the module takes them."
  (let (settings)
    (dolist (seconds '(attempt-delay port-delay patience deadline))
      (let ((value (symbol-value (intern (format "mailport-%s" seconds)))))
        (when value
          (push (cons (symbol-name seconds) (number-to-string value)) settings))))
    (push (cons "families" (symbol-name mailport-families)) settings)
    (push (cons "ask" (if mailport-ask "yes" "no")) settings)
    (when mailport-cache
      (push (cons "cache" (symbol-name mailport-cache)) settings))
    (when mailport-via
      (push (cons "via" mailport-via) settings))
    settings))

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
      (mailport--step dial)
      ;; Nobody waits for it who would say so, and nobody is to be disturbed.
      (when (and (mailport--dial-on-end dial) (not (active-minibuffer-window)))
        (mailport--show dial)))))

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
  (push dial mailport--history)
  (when (nthcdr mailport-report-length mailport--history)
    (setcdr (nthcdr (1- (max 1 mailport-report-length)) mailport--history) nil))
  (if (mailport--dial-on-end dial)
      (funcall (mailport--dial-on-end dial) dial)
    (mailport--release dial)))

(defun mailport--release (dial)
  "Delete the pipe of DIAL, which has ended."
  (let ((pipe (mailport--dial-pipe dial)))
    (set-process-sentinel pipe #'ignore)
    (process-put pipe 'mailport-dial nil)
    (delete-process pipe)))

(defun mailport--cancel (dial)
  "Close everything of DIAL that was not handed over."
  (mailport-module-cancel (mailport--dial-call dial))
  (unless (mailport--dial-status dial)
    (mailport--end dial 'failed)))

(defun mailport--report (dial)
  "Return what DIAL did."
  (mailport-module-report (mailport--dial-call dial)))

(defun mailport--show (dial)
  "Say in the echo area what DIAL is doing, once that is worth it.
How it was connected is said if anything was said before."
  (pcase (mailport--dial-status dial)
    ('connected
     (when (mailport--dial-shown dial)
       (message "%s: %s" (mailport--dial-host dial)
                (plist-get (mailport--report dial) :summary))))
    ('nil
     (when (and mailport-verbose
                (> (float-time (time-since (mailport--dial-began dial))) 0.4))
       (let ((line (mailport-module-progress (mailport--dial-call dial))))
         (unless (equal line (mailport--dial-shown dial))
           (setf (mailport--dial-shown dial) line)
           (let ((message-log-max nil))
             (message "%s" line))))))))

(defun mailport--wait (dial)
  "Wait until DIAL has ended, while Emacs lives."
  (while (not (mailport--dial-status dial))
    (cond ((mailport--dial-question dial) (mailport--ask dial))
          (t (mailport--show dial)
             (accept-process-output (mailport--dial-pipe dial) 0.25))))
  (mailport--show dial))

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

(provide 'mailport-dial)

;;; mailport-dial.el ends here
