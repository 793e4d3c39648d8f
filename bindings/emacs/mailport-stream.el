;;; mailport-stream.el --- The stream that takes the connection of a dial  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Emacs cannot make a process from a file descriptor.  So it connects to a local
;; socket of the module, instead of making the connection that
;; `open-network-stream' would make, and the module joins the two.

;;; Code:

(require 'mailport-dial)
(require 'mailport-plan)

(declare-function mailport-module-accept "mailport-module")
(declare-function mailport-module-cancel "mailport-module")
(declare-function mailport-module-hand-over "mailport-module")
(declare-function mailport-module-listen "mailport-module")
(declare-function native-comp-unit-file "data.c")
(declare-function subr-native-comp-unit "data.c")

(defcustom mailport-allowed-advice nil
  "Advice of `open-network-stream' that does not change where a stream leads.
Any other advice makes mailport refuse to dial, because it may be that of a
proxy: see `mailport-via'.  The default is nil."
  :type '(repeat symbol)
  :risky t
  :group 'mailport)

(defcustom mailport-greeting-timeout 300
  "Seconds after which a stream in the background fails without a greeting.
See `mailport-open-network-stream-async'.
The default is 300, from RFC 5321 section 4.5.3.2."
  :type 'number
  :group 'mailport)

;;;; Streams

(cl-defstruct (mailport--passage (:constructor mailport--make-passage) (:copier nil))
  "The connection of DIAL, for the next process that connects to HOST and SERVICE."
  dial host service
  optional-tls                          ; what `mailport--optional-tls' returns
  process                               ; that took it
  greeted                               ; a process that already has it, and what it received
  used)

(defvar mailport--passage nil
  "The passage for the stream that is being opened.")

(defvar mailport--passages 0
  "The number of streams that are being opened through a passage.")

(defun mailport--is-for (passage host service)
  "Whether PASSAGE is for a connection to SERVICE of HOST."
  (and passage
       (not (mailport--passage-used passage))
       (stringp host)
       (equal service (mailport--passage-service passage))
       (equal (puny-encode-domain host) (mailport--passage-host passage))))

(defun mailport--check-result (message)
  "Signal an error with MESSAGE unless it is nil."
  (when message
    (signal 'mailport-connect-error (list message))))

(defun mailport--local-process (dial make arguments)
  "Connect a process to the module for DIAL, and return it.
It is made by calling MAKE with ARGUMENTS, but for the address."
  (let* ((handle (mailport--dial-handle dial))
         (path (mailport-module-listen handle))
         process done)
    (mailport--check-result (cdr-safe path))
    (unwind-protect
        (let ((given (cl-loop for (key value) on arguments by #'cddr
                              unless (memq key '(:host :service :family :server))
                              nconc (list key value))))
          (setq process (apply make :family 'local :service path given))
          (mailport--check-result (mailport-module-accept handle))
          ;; `process-contact' returns the host and service that were asked for.
          (let ((contact (process-contact process t)))
            (plist-put contact :host (plist-get arguments :host))
            (plist-put contact :service (plist-get arguments :service)))
          (setq done t))
      (unless done
        (mailport-module-cancel handle)
        (when process
          (delete-process process))))
    process))

(defun mailport--hand-over (dial)
  "Join the connection of DIAL to Emacs' local process."
  (mailport--check-result
   (mailport-module-hand-over (mailport--dial-handle dial))))

(defun mailport--enter (passage make arguments)
  "Return the process of PASSAGE, made by calling MAKE with ARGUMENTS."
  (setf (mailport--passage-used passage) t)
  (let ((process (or (car (mailport--passage-greeted passage))
                     (mailport--local-process (mailport--passage-dial passage) make arguments))))
    (setf (mailport--passage-process passage) process)
    (if (mailport--passage-greeted passage)
        (mailport--adopt process (cdr (mailport--passage-greeted passage)) arguments)
      (mailport--hand-over (mailport--passage-dial passage)))
    process))

(defun mailport--adopt (process received arguments)
  "Give PROCESS, which has RECEIVED a greeting, the properties in ARGUMENTS."
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
  "Return the process of the passage for ARGUMENTS, or call MAKE with them."
  (let ((host (plist-get arguments :host))
        (service (plist-get arguments :service)))
    (cond ((mailport--is-for mailport--passage host service)
           (mailport--enter mailport--passage make arguments))
          ((and mailport--passage (mailport--passage-optional-tls mailport--passage)
                (equal service (mailport--passage-service mailport--passage)))
           ;; Emacs would go on in cleartext, over another connection.
           (mailport--check-result (format "%s:%s: the TLS handshake has failed" host service)))
          (t (apply make arguments)))))

(defvar nsm-trust-local-network)

(defun mailport--should-check (check host)
  "Call CHECK with HOST, unless its result is known.
It looks the name up, which blocks Emacs, and uses the addresses only if
`nsm-trust-local-network' is set."
  (if (and mailport--passage (not (bound-and-true-p nsm-trust-local-network)))
      t
    (funcall check host)))

(defun mailport--verify (verify process &rest arguments)
  "Call VERIFY with PROCESS and ARGUMENTS, unless PROCESS is nil.
It is nil if the server has no TLS.  Emacs would then fail here, and not say
that the server has no TLS."
  (and process (apply verify process arguments)))

(defun mailport--open-passage ()
  "Redirect connections while a stream is being opened."
  (when (= 1 (cl-incf mailport--passages))
    (advice-add 'make-network-process :around #'mailport--redirect)
    (advice-add 'nsm-verify-connection :around #'mailport--verify)
    (advice-add 'nsm-should-check :around #'mailport--should-check)))

(defun mailport--close-passage ()
  "Stop redirecting connections, unless another stream is being opened."
  (when (= 0 (cl-decf mailport--passages))
    (advice-remove 'make-network-process #'mailport--redirect)
    (advice-remove 'nsm-verify-connection #'mailport--verify)
    (advice-remove 'nsm-should-check #'mailport--should-check)))

(defvar mailport--prepared nil
  "Whether `mailport--prepare' has been called.")

(defun mailport--prepare ()
  "Load the module, and advise a primitive once.
The first time, that takes Emacs a third of a second."
  (mailport--load)
  (unless mailport--prepared
    (mailport--open-passage)
    (mailport--close-passage)
    (setq mailport--prepared t)))

(defun mailport--optional-tls (report parameters)
  "Return the function by which a stream may do without TLS, or nil.
It is the :starttls-function of PARAMETERS, and notes in a property of its
symbol whether the server offers STARTTLS.  REPORT is that of the dial."
  (when (and (plist-get parameters :mailport-optional-tls)
             (eq 'starttls (plist-get report :tls))
             (equal 25 (plist-get report :port)))
    (let ((symbol (make-symbol "starttls"))
          (function (plist-get parameters :starttls-function)))
      (fset symbol (lambda (capabilities)
                     (let ((command (funcall function capabilities)))
                       (when command
                         (put symbol 'offered t))
                       command)))
      symbol)))

(defun mailport--guard-password (process &rest _)
  "Do not let smtpmail send a password over PROCESS in cleartext."
  (when (process-get process 'mailport-without-tls)
    (throw 'done (format "%s offers no STARTTLS: no password is sent in cleartext"
                         (process-contact process :host)))))

(defun mailport--check-optional-tls (optional-tls result)
  "Check RESULT of a stream that was opened with OPTIONAL-TLS.
It has no TLS only if the server does not offer STARTTLS."
  (let ((process (car-safe result)))
    (when (and process (eq 'plain (plist-get (cdr result) :type)))
      (when (get optional-tls 'offered)
        (mailport--check-result "STARTTLS is offered, and has failed"))
      (process-put process 'mailport-without-tls t)
      (advice-add 'smtpmail-try-auth-method :before #'mailport--guard-password))))

(defun mailport--stream (dial greeted name buffer host service parameters)
  "Open a stream over the connection of DIAL, as `open-network-stream' does.
GREETED is nil, or a process that has the connection and what it received.
NAME, BUFFER, HOST, SERVICE and PARAMETERS are as there."
  (let* ((report (mailport--report dial))
         (optional-tls (mailport--optional-tls report parameters))
         (mailport--passage (mailport--make-passage :dial dial :host (puny-encode-domain host)
                                                    :service service :greeted greeted
                                                    :optional-tls optional-tls))
         (type (and (not optional-tls)
                    (mailport--type (plist-get report :tls) service parameters)))
         (parameters (copy-sequence parameters))
         result done)
    (when optional-tls
      (setq parameters (plist-put parameters :starttls-function optional-tls)))
    (unless (eq (mailport--dial-status dial) 'connected)
      (mailport--raise (mailport--error-of report)))
    (mailport--open-passage)
    (unwind-protect
        (progn
          (setq result (apply (mailport--opener) name buffer host service
                              (plist-put parameters :type type)))
          (unless (mailport--passage-used mailport--passage)
            (let ((process (if (consp result) (car result) result)))
              (when (processp process)
                (delete-process process)))
            (mailport--check-result "Emacs has made another connection than that of mailport"))
          (when optional-tls
            (mailport--check-optional-tls optional-tls result))
          (setq done t))
      (mailport--close-passage)
      (unless done
        (mailport--close dial)
        (let ((process (mailport--passage-process mailport--passage)))
          (when process
            (delete-process process)))))
    result))

(defun mailport--open (plan name buffer host service parameters)
  "Open a stream by PLAN, with NAME, BUFFER, HOST, SERVICE and PARAMETERS."
  (mailport--check host service plan parameters)
  (mailport--check-advice)
  (mailport--prepare)
  (let ((dial (mailport--start host plan))
        done)
    (unwind-protect
        (progn
          (mailport--wait dial)
          (prog1 (mailport--stream dial nil name buffer host service parameters)
            (setq done t)))
      (unless done
        (mailport--close dial)))))

;;;; Other advice

(defun mailport--own-definition-p (function definition)
  "Whether DEFINITION of FUNCTION is that of Emacs."
  (if (eq function 'make-network-process)
      (subr-primitive-p definition)
    (let ((file (cond ((autoloadp definition) (nth 1 definition))
                      ((and (fboundp 'subr-native-elisp-p) (subr-native-elisp-p definition))
                       (native-comp-unit-file (subr-native-comp-unit definition)))
                      ;; Where its docstring is.
                      ((byte-code-function-p definition)
                       (car-safe (aref definition 4))))))
      (if file
          (string-prefix-p "network-stream" (file-name-nondirectory file))
        ;; A function that was loaded from source code does not say where it comes from.
        (and (not (byte-code-function-p definition))
             (string-match-p "/network-stream\\.el\\(?:\\.gz\\)?\\'"
                             (or (symbol-file function 'defun) "")))))))

(defvar mailport--open-network-stream
  (progn
    (require 'network-stream)
    (let ((definition (advice--cd*r (symbol-function 'open-network-stream))))
      (and (mailport--own-definition-p 'open-network-stream definition)
           definition)))
  "The definition of `open-network-stream' in Emacs, if that is known.")

(defun mailport--other-advice (function)
  "Return what is not ours and may reroute the streams of FUNCTION, or nil.
That is an advice, or a definition that is not that of Emacs."
  (let* ((definition (advice--cd*r (symbol-function function)))
         (found (and (not (member definition mailport-allowed-advice))
                     (not (mailport--own-definition-p function definition))
                     definition)))
    (advice-mapc (lambda (advice properties)
                   (unless (or (memq advice '(mailport--around mailport--redirect))
                               (member advice mailport-allowed-advice)
                               (member (alist-get 'name properties) mailport-allowed-advice))
                     (setq found (or (alist-get 'name properties) advice))))
                 function)
    found))

(defun mailport--check-advice ()
  "Signal an error if another package may reroute connections.
A direct connection would bypass the proxy of that package."
  (unless mailport-via
    (dolist (function '(open-network-stream make-network-process))
      (let ((advice (mailport--other-advice function)))
        (when advice
          (mailport--misuse "%s is advised or replaced by %s, which mailport would bypass: %s" function
                            (if (symbolp advice) advice "an anonymous function")
                            "set `mailport-via' to the proxy, or see `mailport-allowed-advice'"))))))

(defun mailport--opener ()
  "Return the function that opens a stream through a passage."
  (if (and mailport-via (mailport--other-advice 'open-network-stream))
      (or mailport--open-network-stream
          (mailport--misuse "open-network-stream was replaced before mailport was loaded"))
    #'open-network-stream))

;;;; In the background

(defun mailport--ask-soon (dial)
  "Ask the question of DIAL as soon as Emacs is idle."
  (run-at-time 0 nil (lambda ()
                       (when (mailport--dial-question dial)
                         (condition-case nil
                             (mailport--ask dial)
                           (quit (mailport--close dial)))))))

(defun mailport--arrive (dial callback open)
  "Open a stream over DIAL, which has ended, with OPEN for CALLBACK."
  ;; An error of the callback is not caught, so CALLBACK is called once.
  (let* ((parameters (nth 4 open))
         (next
          (condition-case error
              (if (and (eq (mailport--dial-status dial) 'connected)
                       (not (mailport--dial-cancelled dial))
                       (plist-get parameters :end-of-command)
                       (not (plist-get parameters :nogreeting))
                       (not (eq (plist-get (mailport--report dial) :tls) 'implicit)))
                  (progn (mailport--await-greeting dial callback open) 'waiting)
                'deliver)
            (error
             (mailport--close dial)
             error))))
    (pcase next
      ('waiting nil)
      ('deliver (mailport--deliver dial nil callback open))
      (_ (funcall callback next)))))

(defun mailport--deliver (dial greeted callback open)
  "Open a stream over DIAL with OPEN, and give it to CALLBACK.
GREETED is as for `mailport--stream'."
  (funcall callback
           (condition-case error
               (if (and (mailport--dial-cancelled dial)
                        (eq (mailport--dial-status dial) 'connected))
                   (progn
                     (mailport--close dial)
                     (when greeted
                       (delete-process (car greeted)))
                     (mailport--check-result (format "%s: cancelled" (mailport--dial-host dial))))
                 ;; In a timer, quitting has to be allowed.
                 (let ((inhibit-quit nil))
                   (apply #'mailport--stream dial greeted open)))
             ((error quit) error))))

(defun mailport--await-greeting (dial callback open)
  "Wait for the greeting of the server of DIAL, then call CALLBACK for OPEN.
Meanwhile `mailport-cancel' closes the connection."
  (pcase-let* ((`(,name ,_ ,host ,service ,parameters) open)
               (end (plist-get parameters :end-of-command))
               (process (mailport--greeting-process dial name host service
                                                    (plist-get parameters :coding)))
               (received "")
               (timer nil)
               (go-on (lambda (result)
                        (cancel-timer timer)
                        (setf (mailport--dial-on-cancel dial) nil)
                        (set-process-filter process t)
                        (set-process-sentinel process #'ignore)
                        (run-at-time 0 nil (lambda ()
                                             (set-process-filter process nil)
                                             (funcall result)))))
               (fail (lambda (message)
                       (funcall go-on
                                (lambda ()
                                  (delete-process process)
                                  (funcall callback (list 'mailport-connect-error
                                                          (format "%s: %s" host message))))))))
    (setq timer (run-at-time mailport-greeting-timeout nil fail "no greeting"))
    (setf (mailport--dial-on-cancel dial) (lambda () (funcall fail "cancelled")))
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
It is open from the start, and receives nothing until the dial is connected.  If
the dial fails, ON-FAILURE is called with the process and the error, and the
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
                  (when (and handed (process-live-p process)
                             (process-get process 'mailport-on-open))
                    (funcall (process-get process 'mailport-on-open) process))
                  (when (and error (processp process))
                    (unwind-protect
                        (when (process-live-p process)
                          (funcall on-failure process error))
                      (set-process-sentinel process #'ignore)
                      (delete-process process)))))))))
    (setq process (mailport--local-process
                   dial #'make-network-process
                   (append (list :name name :host host :service service) arguments)))
    (process-put process 'mailport-dial dial)
    (mailport--watch-promise process dial (lambda () handed))
    process))

(defun mailport--open-nowait (plan name buffer host service parameters)
  "Return a process at once that will lead to SERVICE of HOST, by PLAN.
NAME, BUFFER and PARAMETERS are those of a stream with a non-nil :nowait.  The
process has TLS if they say so.  Its sentinel is called as with Emacs' own."
  (mailport--check-advice)
  (mailport--prepare)
  (let* ((tls (plist-get parameters :tls-parameters))
         (process (apply #'mailport--promise plan name (puny-encode-domain host) service
                         (lambda (process error)
                           (funcall (process-sentinel process) process
                                    (format "failed: %s\n" (error-message-string error))))
                         :buffer buffer :coding (plist-get parameters :coding)
                         (and tls (list :nowait t :tls-parameters tls)))))
    (unless tls
      ;; With TLS, Emacs does this at the end of the handshake.
      (process-put process 'mailport-on-open
                   (lambda (process)
                     (funcall (process-sentinel process) process "open\n"))))
    process))

(defun mailport--watch-promise (process dial handed)
  "Cancel DIAL if PROCESS is deleted while the function HANDED is nil."
  (unless (or (mailport--dial-status dial) (funcall handed))
    (if (process-live-p process)
        (run-at-time 0.5 nil #'mailport--watch-promise process dial handed)
      (mailport--close dial))))

(provide 'mailport-stream)

;;; mailport-stream.el ends here
