;;; mailport-stream.el --- The stream that takes the connection of a dial  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Emacs cannot make a process of a descriptor.  So it connects to a local socket
;; of the module, in place of the connection that `open-network-stream' would
;; make, and the module joins the two.

;;; Code:

(require 'mailport-dial)
(require 'mailport-plan)

(declare-function mailport-module-admit "mailport-module")
(declare-function mailport-module-cancel "mailport-module")
(declare-function mailport-module-hand-over "mailport-module")
(declare-function mailport-module-listen "mailport-module")

(defcustom mailport-handoff 'relay
  "How a connection that was reached gets into Emacs.
With `relay', a local socket leads to Emacs, and the module joins the two.
With `dup2', the module puts the connection in the place of Emacs' own end of
that socket.  Nothing is relayed then, but Emacs is not asked."
  :type '(choice (const relay) (const :tag "dup2 (a hack)" dup2))
  :group 'mailport)

(defcustom mailport-greeting-timeout 300
  "Seconds that a dial in the background waits for a server's greeting.
See `mailport-open-network-stream-async'.
The default is that of RFC 5321 section 4.5.3.2."
  :type 'number
  :group 'mailport)

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
  (let ((buffer (plist-get arguments :buffer)))
    (set-process-filter process nil)
    (set-process-sentinel process nil)
    (set-process-query-on-exit-flag process (not (plist-get arguments :noquery)))
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

(defvar mailport--prepared nil
  "Whether Emacs has been prepared for a passage.")

(defun mailport--prepare ()
  "Load the module, and do what takes Emacs a third of a second the first time.
That is to advise a primitive."
  (mailport--load)
  (unless mailport--prepared
    (mailport--open-passage)
    (mailport--close-passage)
    (setq mailport--prepared t)))

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
  (mailport--prepare)
  (let ((dial (mailport--start host plan))
        done)
    (unwind-protect
        (progn
          (mailport--wait dial)
          (prog1 (mailport--stream dial nil name buffer host service parameters)
            (setq done t)))
      (unless done
        (mailport--cancel dial)))))

;;;; In the background

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
                       (mailport--wanted-p dial)
                       (plist-get parameters :end-of-command)
                       (not (plist-get parameters :nogreeting))
                       (not (eq (plist-get (mailport--report dial) :tls) 'implicit)))
                  (progn (mailport--await-greeting dial callback open) 'waiting)
                'deliver)
            (error
             (mailport--cancel dial)
             error))))
    (pcase next
      ('waiting nil)
      ('deliver (mailport--deliver dial nil callback open))
      (_ (mailport--release dial)
         (funcall callback next)))))

(defun mailport--wanted-p (dial)
  "Whether nobody has deleted the process that stands for DIAL."
  (process-live-p (mailport--dial-pipe dial)))

(defun mailport--deliver (dial greeted callback open)
  "Open a stream over DIAL with OPEN, and give it to CALLBACK.
GREETED is as for `mailport--stream'."
  (let ((wanted (mailport--wanted-p dial)))
    (mailport--release dial)
    (funcall callback
             (condition-case error
                 (if (or wanted (not (eq (mailport--dial-status dial) 'connected)))
                     ;; This is in a timer, where a quit has to be allowed.
                     (let ((inhibit-quit nil))
                       (apply #'mailport--stream dial greeted open))
                   (mailport--cancel dial)
                   (when greeted
                     (delete-process (car greeted)))
                   (mailport--trouble (format "%s: cancelled" (mailport--dial-host dial))))
               ((error quit) error)))))

(defun mailport--await-greeting (dial callback open)
  "Wait for the server of DIAL to greet, and go on with CALLBACK and OPEN.
Meanwhile to delete the pipe of DIAL closes the connection."
  (pcase-let* ((`(,name ,_ ,host ,service ,parameters) open)
               (end (plist-get parameters :end-of-command))
               (process (mailport--greeting-process dial name host service
                                                    (plist-get parameters :coding)))
               (received "")
               (timer nil)
               (go-on (lambda (result)
                        (cancel-timer timer)
                        (set-process-sentinel (mailport--dial-pipe dial) #'ignore)
                        (set-process-filter process t)
                        (set-process-sentinel process #'ignore)
                        (run-at-time 0 nil (lambda ()
                                             (set-process-filter process nil)
                                             (funcall result)))))
               (fail (lambda (words)
                       (funcall go-on
                                (lambda ()
                                  (delete-process process)
                                  (mailport--release dial)
                                  (funcall callback (list 'mailport-connect-error
                                                          (format "%s: %s" host words))))))))
    (setq timer (run-at-time mailport-greeting-timeout nil fail "no greeting"))
    (set-process-sentinel (mailport--dial-pipe dial)
                          (lambda (&rest _) (funcall fail "cancelled")))
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
                              (funcall fail "closed before its greeting"))))))

(defun mailport--greeting-process (dial name host service coding)
  "Return a process NAME that has the connection of DIAL to SERVICE of HOST.
CODING is as in `make-network-process'."
  (let ((process (mailport--local-process
                  dial #'make-network-process
                  (list :name name :buffer nil :host host :service service
                        :coding coding :noquery t)))
        (done nil))
    (unwind-protect
        (progn (mailport--hand-over dial)
               (setq done t))
      (unless done
        (delete-process process)))
    process))

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
             (mailport--release dial)
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

(provide 'mailport-stream)

;;; mailport-stream.el ends here
