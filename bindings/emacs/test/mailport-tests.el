;;; mailport-tests.el --- Tests of mailport on loopback  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Run by `make test'.  Each test's name is a claim.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'mailport)
(require 'nsm)

;;;; Servers

(defvar mailport-tests--open nil "What the running test has opened.")

(defun mailport-tests--server (&optional on-connect on-input)
  "Return a server process, whose connections are given to ON-CONNECT.
What they send is given to ON-INPUT."
  (let ((server (make-network-process
                 :name "server" :server 8 :host "127.0.0.1" :service t :family 'ipv4
                 :coding 'binary :noquery t
                 :filter (or on-input #'ignore)
                 :log (lambda (_ client _)
                        (push client mailport-tests--open)
                        (when on-connect (funcall on-connect client))))))
    (push server mailport-tests--open)
    server))

(defun mailport-tests--port (server)
  "Return the port of SERVER."
  (process-contact server :service))

(defun mailport-tests--greeter (&optional greeting)
  "Return the port of a server that greets with GREETING."
  (mailport-tests--port
   (mailport-tests--server
    (lambda (client) (process-send-string client (or greeting "220 hello\r\n"))))))

(defun mailport-tests--refused ()
  "Return a port that refuses."
  (let* ((server (mailport-tests--server))
         (port (mailport-tests--port server)))
    (delete-process server)
    port))

(defun mailport-tests--silent ()
  "Return a port that drops what comes: its queue is full."
  (let ((server (make-network-process :name "silent" :server 1 :host "127.0.0.1" :service t
                                      :family 'ipv4 :noquery t)))
    (stop-process server)
    (push server mailport-tests--open)
    (dotimes (_ 6)
      ;; By address, for a name is looked up in the background.
      (push (apply #'make-network-process
                   (list :name "queued" :nowait t :noquery t
                         :remote (vector 127 0 0 1 (mailport-tests--port server))))
            mailport-tests--open))
    (mailport-tests--port server)))

(defun mailport-tests--count (folder)
  "Return how many entries there are in FOLDER."
  (length (directory-files folder nil nil t)))

(defun mailport-tests--descriptors ()
  "Return how many descriptors Emacs has."
  (mailport-tests--count "/proc/self/fd"))

(defun mailport-tests--held ()
  "Return how many descriptors, threads and processes Emacs has."
  (list (mailport-tests--descriptors) (mailport-tests--count "/proc/self/task")
        (length (process-list))))

(defun mailport-tests--until-holds (held)
  "Wait until Emacs has what is in HELD, and no more."
  ;; A thread that has done its work takes a moment to end.
  (ert-info ((format "Before: %S, now: %S" held (mailport-tests--held)))
    (mailport-tests--until (lambda () (equal held (mailport-tests--held))))))

(defun mailport-tests--until (what)
  "Wait until the function WHAT returns non-nil."
  (with-timeout (120 (ert-fail "It never happened"))
    (while (not (funcall what))
      (accept-process-output nil 0.02))))

(defun mailport-tests--idle-p ()
  "Whether no dial runs and no connection is joined."
  (garbage-collect)
  (and (= 0 (mailport-module-joined))
       (cl-notany (lambda (timer) (eq (timer--function timer) #'mailport--on-timer)) timer-list)))

(defmacro mailport-tests--with (&rest body)
  "Evaluate BODY with defaults, and see that it leaves nothing behind."
  (declare (indent 0) (debug t))
  `(let ((mailport-plans nil) (mailport-port-delay 0.2) (mailport-patience 0.4)
         (mailport-ask nil) (mailport-cache nil) (mailport-via nil)
         (mailport-verbose nil) (mailport--history nil)
         (mailport-tests--open nil))
     (mailport-mode 1)
     (unwind-protect
         (progn ,@body)
       (mailport-mode -1)
       (mapc #'delete-process mailport-tests--open)
       (dolist (process (process-list))
         (when (string-match-p "\\`\\(?:server\\|mail\\)" (process-name process))
           (set-process-sentinel process #'ignore)
           (delete-process process))))
     (mailport-tests--until #'mailport-tests--idle-p)
     (should-not (advice-member-p #'mailport--redirect 'make-network-process))
     (should (= 0 mailport--passages))))

(defun mailport-tests--plan (&rest services)
  "Let 127.0.0.1 have a plan of SERVICES, ports or strings."
  (setq mailport-plans
        (list (cons "127.0.0.1"
                    (mapconcat (lambda (service)
                                 (if (integerp service) (format "%d:cleartext" service) service))
                               services ",")))))

(defun mailport-tests--open (&rest parameters)
  "Open a stream to port 587 of 127.0.0.1 with PARAMETERS, and return its list."
  (apply #'open-network-stream "mail" (get-buffer-create " *mail*") "127.0.0.1" 587
         :return-list t :end-of-command "\n" parameters))

(defun mailport-tests--smtp (&rest parameters)
  "Open a stream as an SMTP client does, with PARAMETERS."
  (apply #'mailport-tests--open
         :capability-command "EHLO here\r\n" :end-of-command "^[0-9]+ .*\r\n" :success "^2.*\n"
         :always-query-capabilities t
         :starttls-function (lambda (capabilities)
                              (and (string-match "[ -]STARTTLS" capabilities) "STARTTLS\r\n"))
         parameters))

(defvar mailport-tests--gap 0 "The longest time that a timer had to wait.")

(defmacro mailport-tests--reported (&rest body)
  "Evaluate BODY, and return what the echo area has said meanwhile, youngest first."
  `(let ((reported nil))
     (cl-letf (((symbol-function 'message)
                (lambda (format &rest arguments)
                  (when format (push (apply #'format format arguments) reported)))))
       ,@body)
     reported))

(defconst mailport-tests--alive 1
  "How long a timer may have to wait on a busy machine.
An Emacs that waits for the silent port waits longer.")

(defmacro mailport-tests--ticking (&rest body)
  "Evaluate BODY while a timer ticks, and note the longest time between two ticks."
  `(let* ((last (float-time))
          (tick (lambda ()
                  (let ((now (float-time)))
                    (setq mailport-tests--gap (max mailport-tests--gap (- now last))
                          last now))))
          (timer (run-at-time 0 0.05 tick)))
     (setq mailport-tests--gap 0)
     (unwind-protect (prog1 (progn ,@body) (funcall tick))
       (cancel-timer timer))))

;;;; Whose business it is

(ert-deftest mailport-dials-mail-ports-and-nothing-else ()
  (let ((mailport-plans '(("other.example" . nil) ("mine.example" . "2525:starttls")
                          ("mine.example:587" . "465:implicit")))
        (smtp '(:success "2" :capability-command "EHLO")))
    (pcase-dolist (`(,host ,service ,parameters ,plan)
                   `(("m.example" 587 ,smtp "587:starttls,25:starttls")
                     ("m.example" 25 ,smtp "25:starttls,587:starttls")
                     ("m.example" "25" ,smtp "25:starttls,587:starttls")
                     ("m.example" "smtp" ,smtp "25:starttls,587:starttls")
                     ("m.example" "submission" (:type starttls) "587:starttls,25:starttls")
                     ("m.example" 465 ,smtp "465:implicit")
                     ("m.example" "smtps" (:type tls) "465:implicit")
                     ("m.example" "submissions" ,smtp "465:implicit")
                     ("m.example" 587 (:type ssl) "587:implicit")
                     ("m.example" 25 (:type plain) "25:cleartext")
                     ("m.example" 25 nil "25:cleartext")
                     ("m.example" 587 (:type shell) nil)
                     ("m.example" 993 (:type tls) "993:implicit")
                     ("m.example" "imaps" (:type tls) "993:implicit")
                     ("m.example" "imap" ,smtp "143:starttls")
                     ("m.example" "pop3" nil "110:cleartext")
                     ("m.example" 995 (:type ssl) "995:implicit")
                     ("m.example" 4190 ,smtp nil)
                     ("m.example" 465 (:tls-parameters (x)) "465:implicit")
                     ("other.example" 993 (:type tls) nil)
                     ("m.example" 80 nil nil)
                     (nil 25 nil nil)
                     ("OTHER.example" 587 ,smtp nil)
                     ("mine.example" 2525 ,smtp "2525:starttls")
                     ("Mine.example" 25 ,smtp "2525:starttls")
                     ("mine.example" 587 ,smtp "465:implicit")
                     ("mine.example" 993 (:type tls) "993:implicit")))
      (should (equal (list host service (mailport--plan host service parameters))
                     (list host service plan))))))

(ert-deftest mailport-prefers-587-where-smtpmail-has-its-default-port ()
  (require 'smtpmail)
  (require 'message)
  (let ((mailport-plans nil)
        (mailport--smtpmail-port-seen nil)
        (smtp '(:success "2" :capability-command "EHLO"))
        (asked "25:starttls,587:starttls")
        (none-given "587:starttls,25:starttls")
        (smtpmail-smtp-service 25))
    (cl-flet ((plan (name) (mailport--plan-of-stream name "m.example" 25 smtp)))
      (should (equal none-given (plan "smtpmail")))
      (should (equal asked (plan "another")))
      (dolist (how '(saved-value customized-value))
        (unwind-protect
            (progn (put 'smtpmail-smtp-service how '(25))
                   (should (equal asked (plan "smtpmail"))))
          (put 'smtpmail-smtp-service how nil)))
      (with-temp-buffer
        (insert "X-Message-SMTP-Method: smtp m.example 25\n" mail-header-separator "\n")
        (let (planned)
          (cl-letf (((symbol-function 'message-smtpmail-send-it)
                     (lambda () (setq planned (plan "smtpmail")))))
            (message-multi-smtp-send-mail))
          (should (equal asked planned))))
      ;; What the Emacs that has queued a letter knows, its sender takes over.
      (let ((mailport--smtpmail-port-set t))
        (should (equal asked (plan "smtpmail"))))
      (let ((mailport-plans '(("m.example" . "25:starttls,587:starttls"))))
        (should (equal asked (plan "smtpmail"))))
      (should (equal none-given (plan "smtpmail")))
      (setq smtpmail-smtp-service 25)
      (should (equal asked (plan "smtpmail"))))))

(ert-deftest mailport-sees-whether-the-port-of-smtpmail-was-set ()
  (pcase-dolist (`(,expected . ,forms)
                 '(("nil" (require 'mailport-plan) (require 'smtpmail))
                   ("nil" (require 'smtpmail) (require 'mailport-plan))
                   ("t" (setq smtpmail-smtp-service 25) (require 'mailport-plan))
                   ("t" (setq smtpmail-smtp-service 25) (require 'mailport-plan) (require 'smtpmail))
                   ("t" (require 'mailport-plan) (setq smtpmail-smtp-service 25) (require 'smtpmail))
                   ("t" (require 'mailport-plan) (require 'smtpmail) (setq smtpmail-smtp-service 25))
                   ("t" (require 'smtpmail) (require 'mailport-plan) (setq smtpmail-smtp-service 25))))
    (with-temp-buffer
      (should (eq 0 (call-process (expand-file-name invocation-name invocation-directory) nil t nil
                                  "--batch" "-Q" "-L" mailport--here
                                  "--eval" (prin1-to-string `(progn ,@forms))
                                  "--eval" "(princ (mailport--smtpmail-port-set-p))")))
      (should (equal (cons expected forms) (cons (buffer-string) forms))))))

(ert-deftest mailport-does-without-tls-only-where-smtpmail-has-port-25-and-needs-no-password ()
  (let ((mailport-plans nil)
        (mailport--smtpmail-port-set t))
    (should (mailport--optional-tls-p "smtpmail" "m.example" 25 nil))
    (should (mailport--optional-tls-p "smtpmail" "m.example" "smtp" '(:type network)))
    (should-not (mailport--optional-tls-p "smtpmail" "m.example" 587 nil))
    (should-not (mailport--optional-tls-p "smtpmail" "m.example" 25 '(:type starttls)))
    (should-not (mailport--optional-tls-p "smtpmail" "m.example" 25 '(:warn-unless-encrypted t)))
    (should-not (mailport--optional-tls-p "another" "m.example" 25 nil))
    (let ((mailport--smtpmail-port-set nil))
      (should-not (mailport--optional-tls-p "smtpmail" "m.example" 25 nil)))
    (let ((mailport-plans '(("m.example" . "25:starttls"))))
      (should-not (mailport--optional-tls-p "smtpmail" "m.example" 25 nil)))))

(ert-deftest mailport-leaves-other-streams-alone ()
  (mailport-tests--with
    (let* ((port (mailport-tests--greeter))
           (process (open-network-stream "mail" nil "127.0.0.1" port)))
      (should (eq (process-contact process :family) nil))
      (should-not (process-contact process :remote-path))
      (should-not mailport--history))))

;;;; TLS

(ert-deftest mailport-is-never-weaker-than-asked ()
  (let ((smtp '(:success "2" :capability-command "EHLO" :starttls-function ignore)))
    (pcase-dolist (`(,tls ,asked ,type)
                   '((implicit nil tls) (implicit starttls tls) (implicit tls tls)
                     (starttls nil starttls) (starttls starttls starttls)
                     (starttls plain starttls)
                     (cleartext nil nil) (cleartext plain plain)))
      (should (eq type (mailport--type tls 587 (list :type asked)))))
    (dolist (asked '(starttls tls ssl))
      (should-error (mailport--check "m" 587 "25:cleartext" (append (list :type asked) smtp))
                    :type 'mailport-misuse-error)
      (should-error (mailport--check "m" 587 "587:starttls,25:cleartext" (append (list :type asked) smtp))
                    :type 'mailport-misuse-error)
      (mailport--check "m" 587 "587:starttls,25:starttls" (append (list :type asked) smtp)))
    ;; Without the means for STARTTLS the stream would stay in cleartext.
    (should-error (mailport--check "m" 587 "submission" nil) :type 'mailport-misuse-error)
    (should-error (mailport--check "m" 587 "465:implicit,587/ipv4:starttls" '(:type plain))
                  :type 'mailport-misuse-error)
    (mailport--check "m" 587 "465:implicit" nil)))

(ert-deftest mailport-does-not-speak-cleartext-where-starttls-is-missing ()
  (mailport-tests--with
    (let* ((said "")
           (port (mailport-tests--port
                  (mailport-tests--server
                   (lambda (client) (process-send-string client "220 hello\r\n"))
                   (lambda (client text)
                     (setq said (concat said text))
                     (process-send-string client "250 nothing\r\n"))))))
      (mailport-tests--plan (format "%d:starttls" port))
      (let ((result (mailport-tests--smtp :type nil)))
        (should-not (car result))
        (should (string-match-p "does not support TLS" (plist-get (cdr result) :error))))
      (should (equal said "EHLO here\r\n")))))

(ert-deftest mailport-does-not-look-the-name-up-again ()
  (mailport-tests--with
    (mailport-tests--plan
     (mailport-tests--port
      (mailport-tests--server
       (lambda (client) (process-send-string client "220 hello\r\n"))
       (lambda (client _) (process-send-string client "250 nothing\r\n")))))
    (cl-letf (((symbol-function 'network-lookup-address-info)
               (lambda (&rest _) (ert-fail "It looks the name up"))))
      (should (process-live-p (car (mailport-tests--smtp :type nil)))))))

;;;; Dials

(ert-deftest mailport-reaches-an-open-port ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--greeter))
    (let* ((result (mailport-tests--open :type 'plain))
           (process (car result)))
      (should (equal (plist-get (cdr result) :greeting) "220 hello\r\n"))
      (should (process-live-p process))
      (should (equal (process-contact process :host) "127.0.0.1"))
      (should (equal (process-contact process :service) 587)))))

(ert-deftest mailport-falls-back-from-a-refused-port ()
  (mailport-tests--with
    (let ((open (mailport-tests--greeter)))
      (mailport-tests--plan (mailport-tests--refused) open)
      (should (process-live-p (car (mailport-tests--open :type 'plain))))
      (let ((report (mailport--report (car mailport--history))))
        (should (= open (plist-get report :port)))
        (should (eq 'cleartext (plist-get report :tls)))
        (should (equal '(reset connected)
                       (mapcar (lambda (attempt) (plist-get attempt :outcome))
                               (plist-get report :attempts))))))))

(ert-deftest mailport-keeps-emacs-alive-while-a-port-is-silent ()
  (mailport-tests--with
    (setq mailport-port-delay nil mailport-patience nil mailport-verbose t)
    (let* ((silent (mailport-tests--silent))
           (reported (progn
                   (mailport-tests--plan silent (mailport-tests--greeter))
                   (mailport-tests--reported
                    (mailport-tests--ticking
                     (should (process-live-p (car (mailport-tests--open :type 'plain)))))))))
      (should (< 400 (plist-get (mailport--report (car mailport--history)) :elapsed) 5000))
      (should (< mailport-tests--gap mailport-tests--alive))
      (should (cl-some (lambda (line)
                         (string-match-p (format "%d silent for [0-9]+ s, trying [0-9]+ too" silent)
                                         line))
                       reported)))))

(ert-deftest mailport-tells-why-there-is-no-connection ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--refused))
    (let ((error (should-error (mailport-tests--open :type 'plain)
                               :type 'mailport-connect-error)))
      (should (string-match-p "is refused" (error-message-string error)))
      (should-not (string-match-p "attempts\\|(:port" (error-message-string error)))
      (should (eq 'reset (plist-get (car (mailport-error-attempts error)) :outcome)))
      (should (memq 'mailport-error (get (car error) 'error-conditions))))))

(ert-deftest mailport-tells-a-name-that-does-not-exist-from-a-port ()
  (mailport-tests--with
    (should-error (open-network-stream "mail" nil "no-such-host.invalid" 587 :type 'plain)
                  :type 'mailport-resolve-error)))

(ert-deftest mailport-refuses-nonsense-before-anything-is-sent ()
  (mailport-tests--with
    (dolist (plan '("587" "25:ssl" "0:cleartext" ""))
      (let ((mailport-plans (list (cons "127.0.0.1" plan))))
        (should-error (mailport-tests--open) :type 'mailport-misuse-error)))
    (let ((mailport-timeout -1))
      (should-error (open-network-stream "mail" nil "127.0.0.1" 25)
                    :type 'mailport-misuse-error))
    (should-error (open-network-stream "mail" nil "a b" 25) :type 'mailport-misuse-error)
    (should-error (mailport-open-network-stream "mail" nil "127.0.0.1" 80)
                  :type 'mailport-misuse-error)
    (should-not (process-list))))

(ert-deftest mailport-quit-cancels-and-leaves-nothing-open ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--silent) (mailport-tests--silent))
    (setq mailport-port-delay nil)
    (let ((processes (length (process-list)))
          (descriptors (mailport-tests--descriptors)))
      (dolist (quit (list (lambda () (setq quit-flag t)) #'keyboard-quit))
        (should (eq 'quit (condition-case nil
                              (progn (run-at-time 0.3 nil quit)
                                     (mailport-tests--open :type 'plain))
                            (quit 'quit))))
        (should (= processes (length (process-list))))
        (mailport-tests--until #'mailport-tests--idle-p)
        (should (= descriptors (mailport-tests--descriptors)))
        (should (eq 'cancelled (plist-get (mailport--report (car mailport--history)) :end)))))))

(ert-deftest mailport-quit-while-the-server-is-silent-closes-the-connection ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--port (mailport-tests--server)))
    (should (eq 'quit (condition-case nil
                          (progn (run-at-time 0.3 nil (lambda () (setq quit-flag t)))
                                 (mailport-tests--open :type 'plain))
                        (quit 'quit))))
    (should-not (get-process "mail"))
    (mailport-tests--until (lambda ()
                             (cl-every (lambda (process)
                                         (or (eq (process-status process) 'listen)
                                             (not (process-live-p process))))
                                       mailport-tests--open)))))

(ert-deftest mailport-dials-within-a-dial ()
  (mailport-tests--with
    (let ((silent (mailport-tests--silent)) (open (mailport-tests--greeter)) inner)
      (mailport-tests--plan silent open)
      (run-at-time 0.1 nil (lambda ()
                             (mailport-tests--plan open)
                             (setq inner (mailport-open-network-stream
                                          "mail" nil "127.0.0.1" 587 :type 'plain))))
      (let ((outer (car (mailport-tests--open :type 'plain))))
        (should (process-live-p outer))
        (should (process-live-p inner))
        (should-not (eq inner outer))))))

(ert-deftest mailport-redirects-the-one-connection-that-was-asked-for ()
  (let ((mailport--passage (mailport--make-passage :host "m.example" :service 587))
        entered)
    (cl-letf (((symbol-function 'mailport--enter)
               (lambda (passage &rest _)
                 (setf (mailport--passage-used passage) t)
                 (push 'entered entered)))
              ((symbol-function 'mailport-tests--made)
               (lambda (&rest arguments)
                 (push (list (plist-get arguments :host) (plist-get arguments :service))
                       entered))))
      (mailport--redirect #'mailport-tests--made :host "other.example" :service 587)
      (mailport--redirect #'mailport-tests--made :host "m.example" :service 25)
      (mailport--redirect #'mailport-tests--made :host "m.example" :service 587)
      (mailport--redirect #'mailport-tests--made :host "m.example" :service 587))
    (should (equal (nreverse entered)
                   '(("other.example" 587) ("m.example" 25) entered ("m.example" 587))))))

;;;; The way into Emacs

(defun mailport-tests--echo ()
  "Return the port of a server that greets, and echoes."
  (mailport-tests--port
   (mailport-tests--server (lambda (client) (process-send-string client "220 hello\r\n"))
                           #'process-send-string)))

(ert-deftest mailport-carries-what-is-sent-either-way ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--echo))
    (let* ((process (car (mailport-tests--open :type 'plain :coding 'binary)))
           (text (make-string 300000 ?x)) (received 0))
      (should (= 1 (mailport-module-joined)))
      (set-process-filter process (lambda (_ text) (cl-incf received (length text))))
      (process-send-string process text)
      (mailport-tests--until (lambda () (= received (length text)))))))

(ert-deftest mailport-closes-both-sides-when-one-is-gone ()
  (mailport-tests--with
    (let* ((clients nil)
           (port (mailport-tests--port
                  (mailport-tests--server
                   (lambda (client)
                     (push client clients)
                     (process-send-string client "220 hello\r\n"))))))
      (mailport-tests--plan port)
      ;; Emacs closes its side.
      (delete-process (car (mailport-tests--open :type 'plain)))
      (mailport-tests--until (lambda () (not (process-live-p (car clients)))))
      ;; The server closes its side.
      (let ((process (car (mailport-tests--open :type 'plain))))
        (delete-process (car clients))
        (mailport-tests--until (lambda () (not (process-live-p process)))))
      (mailport-tests--until #'mailport-tests--idle-p))))

(ert-deftest mailport-leaves-no-folder-of-its-socket ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--greeter))
    (let ((path (process-contact (car (mailport-tests--open :type 'plain)) :remote)))
      (should (string-match-p "/mailport-[^/]+/s\\'" path))
      (should-not (file-exists-p (file-name-directory path))))))

(ert-deftest mailport-leaves-nothing-of-two-hundred-dials ()
  (mailport-tests--with
    (let ((refused (mailport-tests--refused)) (open (mailport-tests--greeter)))
      (cl-flet ((dials (count)
                  (dotimes (_ count)
                    (mailport-tests--plan refused open)
                    (delete-process (car (mailport-tests--open :type 'plain)))
                    (mailport-tests--plan refused)
                    (should-error (mailport-tests--open :type 'plain))
                    (mapc #'delete-process
                          (cl-remove-if (lambda (process)
                                          (eq (process-status process) 'listen))
                                        mailport-tests--open)))
                  (mailport-tests--until #'mailport-tests--idle-p)))
        (dials 4)
        (let ((held (mailport-tests--held)))
          (dials 100)
          (mailport-tests--until-holds held))))))

;;;; In the background

(defun mailport-tests--async (&rest parameters)
  "Open a stream in the background with PARAMETERS.
Return a function that returns what the callback was given, or nil.
With an argument, it returns the dial."
  (let* (came
         (dial (apply #'mailport-open-network-stream-async (lambda (result) (push result came))
                      "mail" (get-buffer-create " *mail*") "127.0.0.1" 587 parameters)))
    (lambda (&optional of-dial)
      (if of-dial dial
        (should-not (cdr came))
        (car came)))))

(ert-deftest mailport-gives-a-process-in-the-background ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--silent) (mailport-tests--greeter))
    (let ((came (mailport-tests--async :type 'plain)))
      (should-not (funcall came))
      (mailport-tests--until came)
      (should (process-live-p (funcall came))))))

(ert-deftest mailport-says-in-the-echo-area-what-a-dial-in-the-background-does ()
  (mailport-tests--with
    (setq mailport-port-delay 0.6 mailport-patience 0.8 mailport-verbose t)
    (let* ((silent (mailport-tests--silent)) (open (mailport-tests--greeter))
           (reported (mailport-tests--reported
                  (mailport-tests--plan silent open)
                  (mailport-tests--until (mailport-tests--async :type 'plain)))))
      (dolist (line (list (format "%d silent for [0-9]+ s, trying %d too\\'" silent open)
                          (format "%d is silent.*; connected to %d" silent open)))
        (should (cl-some (lambda (said) (string-match-p line said)) reported))))))

(ert-deftest mailport-calls-back-once-though-the-callback-fails ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--greeter))
    (let ((calls 0)
          (debug-on-error nil))
      (mailport-open-network-stream-async
       (lambda (_) (setq calls (1+ calls)) (error "Mine"))
       "mail" nil "127.0.0.1" 587 :type 'plain)
      (mailport-tests--until (lambda () (condition-case nil (> calls 0) (error t))))
      (dotimes (_ 5) (ignore-errors (accept-process-output nil 0.02)))
      (should (= calls 1))
      (dolist (process (process-list))
        (when (equal (process-name process) "mail") (delete-process process))))))

(ert-deftest mailport-gives-an-error-in-the-background ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--refused))
    (let ((came (mailport-tests--async :type 'plain)))
      (mailport-tests--until came)
      (should (eq 'mailport-connect-error (car (funcall came))))
      (should (mailport-error-attempts (funcall came))))))

(ert-deftest mailport-waits-for-a-late-greeting-in-the-background ()
  (mailport-tests--with
    (mailport-tests--plan
     (mailport-tests--port
      (mailport-tests--server
       (lambda (client)
         (run-at-time 0.5 nil #'process-send-string client "220 at last\r\n"))
       (lambda (client _) (process-send-string client "250 nothing\r\n")))))
    (let ((came (mailport-tests--async
                 :return-list t :type 'plain :end-of-command "\n" :coding 'utf-8-dos
                 :always-query-capabilities t :capability-command "EHLO here\r\n")))
      (mailport-tests--until came)
      (should (process-query-on-exit-flag (car (funcall came))))
      (should (equal '(utf-8-dos . utf-8-dos) (process-coding-system (car (funcall came)))))
      (should (equal "220 at last\n" (plist-get (cdr (funcall came)) :greeting)))
      (should (equal "250 nothing\n" (plist-get (cdr (funcall came)) :capabilities))))))

(ert-deftest mailport-tells-of-a-server-that-never-greets-in-the-background ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--port (mailport-tests--server #'delete-process)))
    (let ((came (mailport-tests--async :type 'plain :end-of-command "\n"
                                       :always-query-capabilities t
                                       :capability-command "EHLO here\r\n")))
      (mailport-tests--until came)
      (should (string-match-p "closed before its greeting"
                              (error-message-string (funcall came)))))))

(ert-deftest mailport-cancels-a-dial-in-the-background ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--silent))
    (let ((came (mailport-tests--async :type 'plain)))
      (mailport-cancel (funcall came t))
      (mailport-tests--until came)
      (should (eq 'mailport-connect-error (car (funcall came))))
      (should (string-match-p "cancelled" (error-message-string (funcall came)))))))

(ert-deftest mailport-promises-a-process-at-once ()
  (mailport-tests--with
    (let* ((plan (format "%d:cleartext,%d:cleartext" (mailport-tests--silent) (mailport-tests--greeter)))
           (received "")
           (process (mailport--promise plan "mail" "127.0.0.1" 587 #'ignore
                                       :filter (lambda (_ text)
                                                 (setq received (concat received text))))))
      (should (eq 'open (process-status process)))
      (mailport-tests--until (lambda () (equal received "220 hello\r\n"))))))

(ert-deftest mailport-breaks-a-promise-with-its-error ()
  (mailport-tests--with
    (let* (failed
           (process (mailport--promise (format "%d:cleartext" (mailport-tests--refused)) "mail"
                                       "127.0.0.1" 587
                                       (lambda (process error)
                                         (push (cons process error) failed)))))
      (mailport-tests--until (lambda () failed))
      (should (eq process (caar failed)))
      (should (eq 'mailport-connect-error (cadar failed)))
      (mailport-tests--until (lambda () (not (process-live-p process))))
      (should-not (cdr failed)))))

(ert-deftest mailport-cancels-a-promise-without-a-receiver ()
  (mailport-tests--with
    (let ((process (mailport--promise (format "%d:cleartext" (mailport-tests--silent)) "mail"
                                      "127.0.0.1" 587 #'ignore)))
      (delete-process process)
      (mailport-tests--until #'mailport-tests--idle-p))))

;;;; Streams that do not wait

(ert-deftest mailport-does-not-block-a-stream-that-asks-not-to-wait ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--silent) (mailport-tests--greeter))
    (let* ((before (float-time)) (events nil) (received "")
           (process (open-network-stream "mail" nil "127.0.0.1" 587 :nowait t :type 'plain)))
      (should (processp process))
      (should (> 0.15 (- (float-time) before)))
      (set-process-sentinel process (lambda (_ event) (push event events)))
      (set-process-filter process (lambda (_ text) (setq received (concat received text))))
      (mailport-tests--until (lambda () (equal received "220 hello\r\n")))
      (should (equal '("open\n") events)))
    ;; As a list.
    (let* ((before (float-time))
           (result (open-network-stream "mail" nil "127.0.0.1" 587 :nowait t :type 'plain
                                        :return-list t)))
      (should (> 0.15 (- (float-time) before)))
      (should (processp (car result)))
      (should (eq 'plain (plist-get (cdr result) :type))))
    (mailport-tests--plan (mailport-tests--refused))
    (let* ((events nil)
           (process (open-network-stream "mail" nil "127.0.0.1" 587 :nowait t)))
      (set-process-sentinel process (lambda (_ event) (push event events)))
      (mailport-tests--until (lambda () events))
      (should (string-match-p "\\`failed: .*refused" (car events)))
      (mailport-tests--until (lambda () (not (process-live-p process)))))))

;;;; Asking

(defmacro mailport-tests--typing (events &rest body)
  "Evaluate BODY as if the user answered with EVENTS."
  (declare (indent 1))
  `(let ((noninteractive nil) (events ,events) (prompts nil))
     (cl-letf (((symbol-function 'read-event)
                (lambda (prompt &rest _)
                  (push prompt prompts)
                  (accept-process-output nil 0.05)
                  (pop events))))
       ,@body)))

(ert-deftest mailport-asks-with-the-facts ()
  (mailport-tests--with
    (setq mailport-ask t)
    (let ((refused (mailport-tests--refused)) (open (mailport-tests--greeter)))
      (mailport-tests--plan refused open)
      (mailport-tests--typing (list ?x nil ?f)
        (should (process-live-p (car (mailport-tests--open :type 'plain))))
        (should (string-match-p (format "%d is refused.* Fall back to %d (cleartext)\\?"
                                        refused open)
                                (car prompts)))
        ;; Without a cache, no answer can be remembered.
        (should (= 3 (length prompts)))))))

(ert-deftest mailport-explains-the-question ()
  (mailport-tests--with
    (setq mailport-ask t)
    (mailport-tests--plan (mailport-tests--refused) (mailport-tests--greeter))
    (save-window-excursion
      (mailport-tests--typing (list ?? ?f)
        (let ((explained nil))
          (cl-letf* ((end (symbol-function 'mailport--end-explanation))
                     ((symbol-function 'mailport--end-explanation)
                      (lambda ()
                        (setq explained (with-current-buffer "*mailport question*"
                                          (buffer-string)))
                        (funcall end))))
            (should (process-live-p (car (mailport-tests--open :type 'plain)))))
          (should (string-match-p "is refused" explained))
          (should (string-match-p "No packet is sent" explained))
          (should-not (get-buffer-window "*mailport question*")))))))

(ert-deftest mailport-remembers-an-answer-only-if-reported-to ()
  (mailport-tests--with
    (setq mailport-ask t mailport-cache 'session)
    (mailport-tests--plan (mailport-tests--refused) (mailport-tests--greeter))
    (mailport-tests--typing (list ?g ?n ?g ?y)
      (dotimes (_ 3)
        (should-error (mailport-tests--open :type 'plain) :type 'mailport-connect-error)
        (should (eq 'declined (plist-get (mailport--report (car mailport--history)) :end))))
      (should (= 4 (length prompts)))
      (should (string-match-p "Remember this answer for 30 days\\? \\[y/N\\]" (car prompts)))
      (mailport-forget "127.0.0.1")
      (setq events (list ?f ?\r))
      (should (process-live-p (car (mailport-tests--open :type 'plain)))))))

(ert-deftest mailport-follows-the-default-where-no-user-can-be-asked ()
  (mailport-tests--with
    (setq mailport-ask t)
    (mailport-tests--plan (mailport-tests--refused) (mailport-tests--greeter))
    (should noninteractive)
    (let ((mailport-ask-default 'give-up))
      (should-error (mailport-tests--open :type 'plain) :type 'mailport-connect-error))
    (should (process-live-p (car (mailport-tests--open :type 'plain))))))

(ert-deftest mailport-quit-at-the-question-cancels ()
  (mailport-tests--with
    (setq mailport-ask t)
    (mailport-tests--plan (mailport-tests--refused) (mailport-tests--greeter))
    (mailport-tests--typing (list ?\C-g)
      (should (eq 'quit (condition-case nil (mailport-tests--open :type 'plain)
                          (quit 'quit)))))))

(ert-deftest mailport-connects-by-a-command ()
  (mailport-tests--with
    (let* ((open (mailport-tests--greeter))
           (mailport-via (format "command:perl -MIO::Socket::INET -e %s %%h %%p"
                                 (shell-quote-argument
                                  (concat "print \"220 \" . join(\" \", @ARGV) . \"\\r\\n\";"
                                          "$| = 1; sleep 9")))))
      (mailport-tests--plan open)
      (let ((result (mailport-tests--open :type 'plain)))
        (should (equal (plist-get (cdr result) :greeting)
                       (format "220 127.0.0.1 %d\r\n" open)))
        (delete-process (car result))))
    (let ((mailport-via "nonsense"))
      (should-error (mailport-tests--open :type 'plain) :type 'mailport-misuse-error))))

;;;; Other advice

(defun mailport-tests--proxy (open &rest arguments)
  "Call OPEN with ARGUMENTS, as a package that connects by a proxy would not."
  (apply open arguments))

(ert-deftest mailport-refuses-to-bypass-the-advice-of-another-package ()
  (dolist (function '(open-network-stream make-network-process))
    (mailport-tests--with
      (mailport-tests--plan (mailport-tests--greeter))
      (unwind-protect
          (progn
            (advice-add function :around #'mailport-tests--proxy)
            (let ((error (should-error (mailport-tests--open :type 'plain)
                                       :type 'mailport-misuse-error)))
              (should (string-match-p "replaced by mailport-tests--proxy.*mailport-via"
                                      (error-message-string error))))
            (should-error (mailport-tests--async :type 'plain) :type 'mailport-misuse-error)
            (should-not mailport--history)
            (let ((mailport-allowed-advice '(mailport-tests--proxy)))
              (should (process-live-p (car (mailport-tests--open :type 'plain))))))
        (advice-remove function #'mailport-tests--proxy)))))

(ert-deftest mailport-refuses-to-bypass-socks ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--silent))
    (require 'socks)
    (dolist (reroute (list (lambda (open)
                             ;; What socks.el does for `socks-override-functions'.
                             (advice-add 'open-network-stream :around #'socks--open-network-stream)
                             (unwind-protect (funcall open)
                               (advice-remove 'open-network-stream #'socks--open-network-stream)))
                           (lambda (open)
                             (cl-letf (((symbol-function 'open-network-stream)
                                        'socks-open-network-stream))
                               (mailport-mode 1)
                               (funcall open)))))
      (funcall reroute
               (lambda ()
                 (let ((error (should-error (mailport-tests--open :type 'plain)
                                            :type 'mailport-misuse-error)))
                   (should (string-match-p "socks-.*mailport-via" (error-message-string error))))))
      (should-not mailport--history)
      (mailport-mode 1))))

(ert-deftest mailport-refuses-to-bypass-a-function-that-replaces-emacs-own ()
  (dolist (function '(open-network-stream make-network-process))
    (dolist (replace (list #'identity #'byte-compile))
      (mailport-tests--with
        (mailport-tests--plan (mailport-tests--greeter))
        (let* ((own (symbol-function function))
               (other (funcall replace `(lambda (&rest arguments) (apply ,own arguments))))
               (open (lambda ()
                       (mailport-open-network-stream "mail" nil "127.0.0.1" 587 :type 'plain))))
          (unwind-protect
              (progn
                (fset function other)
                (let ((error (should-error (funcall open) :type 'mailport-misuse-error)))
                  (should (string-match-p "replaced by an anonymous function.*mailport-via"
                                          (error-message-string error))))
                (should-error (mailport-tests--async :type 'plain) :type 'mailport-misuse-error)
                (should-not mailport--history))
            (fset function own))
          (should (process-live-p (funcall open))))))))

;;;; Descriptors

(ert-deftest mailport-dial-has-five-descriptors-at-most-and-no-thread ()
  (mailport-tests--with
    (let* ((silent (format "%d:cleartext" (mailport-tests--silent)))
           (held (mailport-tests--held))
           (dial (mailport--start "127.0.0.1" silent)))
      (should-not (mailport--dial-status dial))
      (should (>= 5 (- (mailport-tests--descriptors) (car held))))
      (should (equal (cdr held) (cdr (mailport-tests--held))))
      (mailport--close dial)
      (mailport-tests--until-holds held))))

(ert-deftest mailport-reports-how-long-a-cancelled-dial-took ()
  (mailport-tests--with
    (let ((dial (mailport--start "127.0.0.1" (format "%d:cleartext" (mailport-tests--silent)))))
      (sleep-for 0.2)
      (mailport--close dial)
      (should (< 150 (plist-get (mailport--report dial) :elapsed)))
      (should (equal '(cancelled)
                     (mapcar (lambda (attempt) (plist-get attempt :outcome))
                             (plist-get (mailport--report dial) :attempts)))))))

(ert-deftest mailport-says-that-an-open-attempt-has-no-outcome ()
  (mailport-tests--with
    (let ((dial (mailport--start "127.0.0.1" (format "%d:cleartext" (mailport-tests--silent)))))
      (should-not (plist-get (mailport--report dial) :end))
      (should-not (plist-get (car (plist-get (mailport--report dial) :attempts)) :outcome))
      (mailport--close dial))))

(ert-deftest mailport-errors-are-short-when-they-are-printed ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--refused))
    (let ((error (should-error (mailport-tests--open :type 'plain))))
      (should (mailport-error-attempts error))
      (should (> 200 (length (format "%S" error)))))))

;;;; The report, and the module

(ert-deftest mailport-reports-the-last-dials ()
  (mailport-tests--with
    (let ((refused (mailport-tests--refused)) (open (mailport-tests--greeter)))
      (mailport-tests--plan refused open)
      (mailport-tests--open :type 'plain)
      (let ((mailport-report-length 2))
        (dotimes (_ 3)
          (mailport-tests--plan refused)
          (should-error (mailport-tests--open :type 'plain))))
      (should (= 2 (length mailport--history)))
      (mailport-tests--plan refused open)
      (mailport-tests--open :type 'plain)
      (mailport-report)
      (should (derived-mode-p 'tabulated-list-mode))
      (should (string-match-p (format "connected to %d over IPv4" open) (buffer-string)))
      (should (string-match-p (format "%d IPv4 127.0.0.1 .*×" refused) (buffer-string)))
      (revert-buffer)
      (should (tabulated-list-get-id))
      (kill-buffer))))

(ert-deftest mailport-refuses-a-module-of-another-version ()
  (let ((mailport-version "9.9.9") (mailport--loaded-version nil))
    (let ((error (should-error (mailport-mode 1))))
      (should-not mailport-mode)
      (should (string-match-p "module is mailport .* mailport.el is 9.9.9.*mailport-build-module"
                              (error-message-string error)))))
  (should-not (advice-member-p #'mailport--around 'open-network-stream)))

(ert-deftest mailport-uses-the-loaded-module-after-an-upgrade ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--greeter))
    (let* ((mailport--loaded-version mailport-version)
           (mailport-version "9.9.9")
           (reported (mailport-tests--reported
                  (dotimes (_ 2)
                    (should (process-live-p (car (mailport-tests--open :type 'plain))))))))
      (should (equal 1 (cl-count-if (lambda (said) (string-match-p "until you restart" said))
                                    reported))))))

(ert-deftest mailport-documents-the-defaults-of-the-library ()
  (mailport--load)
  (cl-loop for (key value) on (mailport-module-defaults) by #'cddr
           for name = (intern (format "mailport-%s" (substring (symbol-name key) 1)))
           do (should (equal (list name t)
                             (list name
                                   (and (string-match-p
                                         (format "default\\(, \\|: \\)%s s" (if (= value (ftruncate value))
                                                                    (truncate value)
                                                                  value))
                                         (documentation-property name 'variable-documentation))
                                        t))))))

(ert-deftest mailport-states-the-default-of-every-option ()
  (dolist (feature '(mailport-send mailport-mew))
    (require feature))
  (let ((count 0))
    (mapatoms
     (lambda (symbol)
       (when (and (custom-variable-p symbol)
                  (string-prefix-p "mailport-" (symbol-name symbol))
                  (not (string-match-p "-mode\\(?:-hook\\)?\\'" (symbol-name symbol))))
         (setq count (1+ count))
         (should (equal (list symbol t)
                        (list symbol
                              (and (string-match-p
                                    "\\bdefault\\b"
                                    (documentation-property symbol 'variable-documentation))
                                   t)))))))
    (should (< 20 count))))

(ert-deftest mailport-searches-the-directory-of-the-distribution ()
  (let ((searched (cl-letf (((symbol-function 'locate-file) (lambda (_ path) path)))
                    (let ((mailport-module-directories '("/mine")))
                      (mailport--module-file)))))
    (should (equal (list "/mine" mailport--here) (seq-take searched 2)))
    (should (string-match "\\`/usr/lib/[^/]+-linux-[^/]+/emacs\\'" (nth 2 searched)))
    ;; It is the name that this machine uses.
    (should (file-directory-p (file-name-directory (nth 2 searched))))
    (should (equal load-path (nthcdr 3 searched)))))

(provide 'mailport-tests)

;;; mailport-tests.el ends here
