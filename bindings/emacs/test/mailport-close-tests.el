;;; mailport-close-tests.el --- Everything is closed, once  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Run by `make test'.  Each test's name is a claim.  What is open is looked at
;; from both sides: the descriptors, threads and processes of this Emacs, and
;; what the servers have accepted.

;;; Code:

(require 'mailport-tests)

(defun mailport-tests--clients ()
  "Return the connections that the running test's servers have accepted."
  (cl-remove-if-not (lambda (process) (string-match-p "\\`server.* <" (process-name process)))
                    mailport-tests--open))

(defun mailport-tests--of (server)
  "Return the connections that SERVER has accepted."
  (cl-remove-if-not (lambda (process)
                      (string-prefix-p (concat (process-name server) " <")
                                       (process-name process)))
                    mailport-tests--open))

(defun mailport-tests--all-closed-p (count)
  "Whether COUNT connections were accepted, and all of them are closed."
  (let ((clients (mailport-tests--clients)))
    (and (= count (length clients))
         (cl-notany #'process-live-p clients))))

(defmacro mailport-tests--once (end)
  "Evaluate END twice, and see that the second time closes nothing.
Between them others take the numbers of the descriptors that were closed."
  `(let (pairs)
     ,end
     (mailport-tests--until #'mailport-tests--idle-p)
     (let* ((server (mailport-tests--server nil #'process-send-string))
            (port (mailport-tests--port server)))
       (dotimes (turn 12)
         (mailport-tests--until (lambda () (= turn (length (mailport-tests--of server)))))
         (let ((received (list "")))
           (push (cons (make-network-process
                        :name "other" :host "127.0.0.1" :service port :noquery t
                        :filter (lambda (_ text) (setcar received (concat (car received) text))))
                       received)
                 pairs)))
       ,end
       (garbage-collect)
       (pcase-dolist (`(,process . ,received) pairs)
         (process-send-string process "still here")
         (mailport-tests--until (lambda () (equal (car received) "still here")))
         (delete-process process))
       (mapc #'delete-process (cons server (mailport-tests--of server))))))

;;;; Of a stream

(ert-deftest mailport-kill-process-changes-nothing-of-a-stream ()
  ;; As with any process that is no program.
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--echo))
    (let ((process (car (mailport-tests--open :type 'plain))) (received ""))
      (dolist (kill (list #'kill-process #'interrupt-process #'quit-process))
        (should-error (funcall kill process)))
      (set-process-filter process (lambda (_ text) (setq received (concat received text))))
      (process-send-string process "alive")
      (mailport-tests--until (lambda () (equal received "alive"))))))

(ert-deftest mailport-closes-a-stream-once-by-any-way-to-end-it ()
  (dolist (end (list #'delete-process
                     (lambda (process)
                       (let ((kill-buffer-query-functions nil))
                         (kill-buffer (process-buffer process))))
                     #'process-send-eof
                     (lambda (_) (mapc #'delete-process (mailport-tests--clients)))))
    (mailport-tests--with
      (mailport-tests--plan (mailport-tests--echo))
      ;; What Emacs opens once and keeps.
      (delete-process (car (mailport-tests--open :type 'plain)))
      (mailport-tests--until (lambda () (mailport-tests--all-closed-p 1)))
      (mailport-tests--until #'mailport-tests--idle-p)
      (let* ((held (mailport-tests--held))
             (process (car (mailport-tests--open :type 'plain))))
        (funcall end process)
        (mailport-tests--until (lambda () (mailport-tests--all-closed-p 2)))
        (mailport-tests--until (lambda () (not (process-live-p process))))
        (mailport-tests--until #'mailport-tests--idle-p)
        ;; Emacs forgets a process whose peer has closed when it is deleted.
        (delete-process process)
        (mailport-tests--until-holds held)
        (mailport-tests--once (progn (delete-process process)
                                     (mailport--close (car mailport--history))))))))

;;;; Of a dial

(ert-deftest mailport-closes-a-dial-once-by-any-way-to-end-it ()
  (dolist (end (list (lambda ()
                       (dolist (timer timer-list)
                         (when (eq (timer--function timer) #'mailport--on-timer)
                           (mailport-cancel (car (timer--args timer))))))
                     (lambda () (setq quit-flag t))))
    (mailport-tests--with
      (mailport-tests--plan (mailport-tests--silent) (mailport-tests--silent))
      (let ((held (mailport-tests--held)))
        (run-at-time 0.3 nil end)
        (should (memq (car (condition-case error
                               (mailport-tests--open :type 'plain)
                             ((quit mailport-connect-error) error)))
                      '(quit mailport-connect-error)))
        (mailport-tests--until #'mailport-tests--idle-p)
        (mailport-tests--until-holds held)
        (mailport-tests--once (mailport--close (car mailport--history)))))))

(defun mailport-tests--drop-dials (count plan)
  "Start COUNT dials by PLAN, and lose them when they have ended or wait."
  (dotimes (_ count)
    (let ((dial (mailport--start "127.0.0.1" plan :on-end #'ignore)))
      (accept-process-output nil 0.05)
      (when (mailport--dial-timer dial)
        (cancel-timer (mailport--dial-timer dial)))))
  ;; Emacs keeps the last timers that ran.
  (setq mailport--history nil
        timer-event-last nil timer-event-last-1 nil timer-event-last-2 nil)
  (mailport-tests--overwrite-stack 60))

(defun mailport-tests--overwrite-stack (depth)
  "Recur to DEPTH, over what is left there of earlier calls.
Emacs looks at its stack when it collects, at what is not in use too."
  (if (= depth 0) 0 (1+ (mailport-tests--overwrite-stack (1- depth)))))

(ert-deftest mailport-closes-a-dial-that-is-collected ()
  (mailport-tests--with
    (let ((silent (format "%d:cleartext" (mailport-tests--silent)))
          (open (format "%d:cleartext" (mailport-tests--greeter)))
          (descriptors (mailport-tests--descriptors)))
      ;; Running: each has its descriptors.
      (mailport-tests--drop-dials 20 silent)
      (should (< (+ 30 descriptors) (mailport-tests--descriptors)))
      (mailport-tests--until (lambda ()
                               (garbage-collect)
                               (= descriptors (mailport-tests--descriptors))))
      ;; Connected, and not taken.
      (mailport-tests--drop-dials 20 open)
      (mailport-tests--until (lambda () (= 20 (length (mailport-tests--clients)))))
      (mailport-tests--until (lambda ()
                               (garbage-collect)
                               (mailport-tests--all-closed-p 20)))
      (mapc #'delete-process (mailport-tests--clients))
      (should (= descriptors (mailport-tests--descriptors))))))

;;;; In the background

(defun mailport-tests--timers ()
  "Return how many timers wait for minutes, as that for a greeting does."
  (cl-count-if (lambda (timer)
                 (time-less-p (time-add nil 60) (timer--time timer)))
               timer-list))

(ert-deftest mailport-cancels-in-the-background-while-the-server-pauses ()
  (mailport-tests--with
    (mailport-tests--plan (mailport-tests--port (mailport-tests--server)))
    (let* ((timers (mailport-tests--timers))
           (came (mailport-tests--async :type 'plain :end-of-command "\n")))
      (mailport-tests--until #'mailport-tests--clients)
      (mailport-tests--until (lambda () (get-process "mail")))
      (should (= (1+ timers) (mailport-tests--timers)))
      (mailport-cancel (funcall came t))
      (mailport-tests--until came)
      (should (string-match-p "cancelled" (error-message-string (funcall came))))
      (should-not (get-process "mail"))
      (mailport-tests--until (lambda () (mailport-tests--all-closed-p 1)))
      (should (= timers (mailport-tests--timers))))))

(ert-deftest mailport-cancels-in-the-background-until-the-last-moment ()
  (dolist (moment '(mailport--arrive mailport--deliver))
    (mailport-tests--with
      (mailport-tests--plan (mailport-tests--greeter))
      (let ((came (cl-letf* ((go-on (symbol-function moment))
                             ((symbol-function moment)
                              (lambda (dial &rest arguments)
                                (mailport-cancel dial)
                                (apply go-on dial arguments))))
                    (let ((came (mailport-tests--async :type 'plain :end-of-command "\n")))
                      (mailport-tests--until came)
                      came))))
        (should (string-match-p "cancelled" (error-message-string (funcall came))))
        (should-not (get-process "mail"))
        (mailport-tests--until (lambda () (mailport-tests--all-closed-p 1)))))))

(ert-deftest mailport-tells-once-in-the-background-of-a-hand-over-that-failed ()
  (dolist (when '(before at))
    (mailport-tests--with
      (mailport-tests--plan (mailport-tests--port (mailport-tests--server)))
      (let* ((timers (mailport-tests--timers)) (failed nil)
             (came (cl-letf* ((hand-over (symbol-function 'mailport-module-hand-over))
                              ((symbol-function 'mailport-module-hand-over)
                               (lambda (handle)
                                 (setq failed t)
                                 (if (eq when 'at)
                                     ;; What was there to hand over is gone.
                                     (progn (mailport-module-cancel handle)
                                            (funcall hand-over handle))
                                   "it is broken"))))
                     (let ((came (mailport-tests--async :type 'plain :end-of-command "\n")))
                       (mailport-tests--until came)
                       came))))
        (should failed)
        (should (eq 'mailport-connect-error (car (funcall came))))
        (should-not (get-process "mail"))
        (mailport-tests--until (lambda () (mailport-tests--all-closed-p 1)))
        (mailport-tests--until #'mailport-tests--idle-p)
        ;; This fails where it was called twice.
        (should (funcall came))
        (should (= timers (mailport-tests--timers)))))))

(ert-deftest mailport-quit-in-the-background-closes-the-connection ()
  (mailport-tests--with
    ;; It greets, and says nothing to EHLO, when the user quits.
    (mailport-tests--plan
     (mailport-tests--port
      (mailport-tests--server
       (lambda (client) (process-send-string client "220 hello\r\n"))
       (lambda (&rest _) (setq quit-flag t)))))
    (let ((came (mailport-tests--async :type 'plain :return-list t :end-of-command "\n"
                                       :always-query-capabilities t
                                       :capability-command "EHLO here\r\n")))
      (mailport-tests--until came)
      (should (eq 'quit (car (funcall came))))
      (mailport-tests--until (lambda () (mailport-tests--all-closed-p 1))))))

;;;; Of Emacs

(defun mailport-tests--emacs (folder form)
  "Start another Emacs that evaluates FORM, with FOLDER as its home.
Its local sockets are made there.  Return its process."
  (let* ((process-environment
          (append (list (concat "HOME=" folder) (concat "XDG_RUNTIME_DIR=" folder)
                        (concat "TMPDIR=" folder) (concat "XDG_CACHE_HOME=" folder))
                  process-environment))
         (process
          (make-process
           :name "emacs" :noquery t :buffer (generate-new-buffer " *other emacs*")
           ;; When this is called, all that it said has been read.
           :sentinel (lambda (process _)
                       (unless (process-live-p process)
                         (process-put process 'over t)))
           :connection-type 'pipe
           :command (list (expand-file-name invocation-name invocation-directory)
                          "--batch" "-Q" "--module-assertions" "-L" mailport--here
                          "--eval" (prin1-to-string form)))))
    (push process mailport-tests--open)
    process))

(defun mailport-tests--said (process)
  "Return what the other Emacs PROCESS has said."
  (with-current-buffer (process-buffer process) (buffer-string)))

(defun mailport-tests--run (folder form)
  "Have another Emacs evaluate FORM, as in `mailport-tests--emacs' with FOLDER.
Return what it has said."
  (let ((other (mailport-tests--emacs folder form)))
    (with-timeout (300 (ert-fail (list "It does not end" (mailport-tests--said other) form)))
      (while (not (process-get other 'over))
        ;; Of any process: while it waits for one that has ended, Emacs calls no sentinel.
        (accept-process-output nil 0.1)))
    (ert-info ((mailport-tests--said other))
      (should (= 0 (process-exit-status other))))
    (mailport-tests--said other)))

(defconst mailport-tests--states
  '((dialling
     "%1$d:cleartext"
     (push (mailport--start "127.0.0.1" plan) dials)
     (not (mailport--dial-status (car dials))))
    (pausing
     "%2$d:cleartext"
     (apply #'mailport-open-network-stream-async #'ignore "mail" nil "127.0.0.1" 587 smtp)
     (= 1 (mailport-module-joined)))
    (promised
     "%1$d:cleartext,%2$d:cleartext"
     (mailport--promise plan "mail" "127.0.0.1" 587 #'ignore)
     (= 1 (mailport-module-joined)))
    (joined
     "%2$d:cleartext"
     (open-network-stream "mail" nil "127.0.0.1" 587 :type 'plain)
     (process-live-p (get-process "mail")))
    (through-a-command
     "%2$d:cleartext"
     (let ((mailport-via "command:sh -c 'echo 220 hello; cat; echo over >\"$HOME/over\"'"))
       (open-network-stream "mail" nil "127.0.0.1" 587 :type 'plain))
     (process-live-p (get-process "mail"))))
  "What another Emacs is about when it ends.
Each is a name, a plan, a form to get there, and one that says when it is there.
The plan has the ports of a silent and of a pausing server.")

(ert-deftest mailport-leaves-nothing-when-emacs-ends ()
  (pcase-dolist (`(,state ,plan ,form ,there) mailport-tests--states)
    (dolist (end '((kill-emacs 7) (signal-process (emacs-pid) 'KILL)))
      (mailport-tests--with
        (let* ((folder (file-name-as-directory (make-temp-file "mailport-tests-" t)))
               (silent (mailport-tests--silent))
               (server (mailport-tests--server))
               (plan (format plan silent (mailport-tests--port server)))
               (other
                (mailport-tests--emacs
                 folder
                 `(let* ((plan ,plan) (dials nil)
                         (smtp '(:type plain :end-of-command "\n" :return-list t)))
                    (require 'mailport)
                    (setq mailport-plans (list (cons "127.0.0.1" plan)) mailport-cache nil
                          mailport-port-delay 0.1 mailport-patience 0.2)
                    (mailport-mode 1)
                    ,form
                    (while (not ,there)
                      (accept-process-output nil 0.02))
                    (message "There: %S" (directory-files ,folder nil "\\`mailport-"))
                    ,end))))
          (unwind-protect
              (progn
                (mailport-tests--until (lambda () (process-get other 'over)))
                (ert-info ((format "%s, %s: %s" state (car end) (mailport-tests--said other)))
                  (should (equal (if (eq (car end) 'kill-emacs) '(exit 7) '(signal 9))
                                 (list (process-status other) (process-exit-status other))))
                  (should (string-match-p "There: nil" (mailport-tests--said other)))
                  (mailport-tests--until
                   (if (eq state 'through-a-command)
                       (lambda () (file-exists-p (expand-file-name "over" folder)))
                     (lambda ()
                       (mailport-tests--all-closed-p (if (eq state 'dialling) 0 1)))))
                  (should-not (directory-files folder nil "\\`mailport-"))))
            (delete-directory folder t)))))))

(defun mailport-tests--inherited ()
  "Return how many descriptors a program that Emacs starts has."
  (with-temp-buffer
    (call-process "ls" nil t nil "/proc/self/fd")
    (count-lines (point-min) (point-max))))

(ert-deftest mailport-gives-no-descriptor-to-a-program-that-emacs-starts ()
  (mailport-tests--with
    (let ((inherited (mailport-tests--inherited))
          (dial (mailport--start "127.0.0.1" (format "%d:cleartext" (mailport-tests--silent)))))
      (mailport-tests--plan (mailport-tests--echo))
      (should (process-live-p (car (mailport-tests--open :type 'plain))))
      (should (= inherited (mailport-tests--inherited)))
      (mailport--close dial))))

(ert-deftest mailport-remembers-from-one-emacs-to-the-next-until-reported-to-forget ()
  (mailport-tests--with
    (let* ((folder (file-name-as-directory (make-temp-file "mailport-tests-" t)))
           (plan (format "%d:cleartext,%d:cleartext" (mailport-tests--silent) (mailport-tests--greeter)))
           (dial `(progn
                    (require 'mailport)
                    (setq mailport-plans '(("127.0.0.1" . ,plan)))
                    (mailport-open-network-stream "mail" nil "127.0.0.1" 587 :type 'plain)
                    (message "Second port tried after %d ms"
                             (let ((report (mailport--report (car mailport--history))))
                               (plist-get (cl-find (plist-get report :port)
                                                   (plist-get report :attempts)
                                                   :key (lambda (attempt)
                                                          (plist-get attempt :port)))
                                          :started)))))
           (file (expand-file-name "mailport/cache.json" folder))
           ;; It is saved in the background; a busy machine may not do so before the end.
           (saved (lambda (what)
                    `(while (not (with-temp-buffer
                                   (ignore-errors (insert-file-contents ,file))
                                   (eq ,what (and (search-forward "127.0.0.1" nil t) t))))
                       (sleep-for 0.02))))
           (waited (lambda (form)
                     (let ((said (mailport-tests--run folder form)))
                       (should (string-match "after \\([0-9]+\\) ms" said))
                       (<= 400 (string-to-number (match-string 1 said)))))))
      (unwind-protect
          (progn
            (should (funcall waited `(progn ,dial ,(funcall saved t))))
            (should-not (funcall waited `(progn ,dial (mailport-forget "") ,(funcall saved nil))))
            (should (funcall waited dial)))
        (delete-directory folder t)))))

;;;; The package

(ert-deftest mailport-is-installed-from-its-package-and-finds-the-module ()
  (mailport-tests--with
    (let* ((file (expand-file-name (format "mailport-%s.tar" mailport-version) mailport--here))
           (folder (file-name-as-directory (make-temp-file "mailport-tests-" t)))
           (mailport--here folder))
      (should (file-exists-p file))
      (unwind-protect
          (progn
            (should-not (string-match-p "Warning\\|Error"
                                        (mailport-tests--run
                                         folder `(progn (require 'package)
                                                        (package-install-file ,file)))))
            (let ((said (mailport-tests--run
                         folder
                         `(progn
                            (package-initialize)
                            (dolist (command '(mailport-mode mailport-mew-mode mailport-report
                                                             mailport-forget
                                                             mailport-build-module
                                                             mailport-send-mode
                                                             mailport-outbox))
                              (unless (autoloadp (symbol-function command))
                                (error "No autoload of %s" command)))
                            (describe-package 'mailport)
                            (with-current-buffer "*Help*"
                              (dolist (text '("\\(?:Homepage\\|Website\\): http"
                                              "Keywords: +.*mail"))
                                (goto-char (point-min))
                                (unless (re-search-forward text nil t)
                                  (error "No %s in %s" text (buffer-string)))))
                            (mailport-mode 1)
                            (message "Loaded: %s" (mailport--module-file))))))
              (should (string-match-p
                       (format "Loaded: +%s\\.emacs\\.d/elpa/mailport-%s/mailport-module\\.so$"
                               folder mailport-version)
                       said))))
        (delete-directory folder t)))))

(ert-deftest mailport-module-file-can-be-overwritten-while-it-is-loaded ()
  (mailport-tests--with
    (let* ((folder (file-name-as-directory (make-temp-file "mailport-tests-" t)))
           (file (expand-file-name (mailport--module-name) folder))
           (plan (format "%d:cleartext" (mailport-tests--greeter))))
      (copy-file (mailport--module-file) file)
      (unwind-protect
          (should (string-match-p
                   "No crash: connected"
                   (mailport-tests--run
                    folder
                    `(progn
                       (require 'mailport)
                       (setq mailport-module-directories (list ,folder) mailport-cache nil)
                       (mailport--load)
                       (let ((coding-system-for-write 'binary))
                         ;; In place, as `package-install-file' does.
                         (write-region (make-string ,(file-attribute-size (file-attributes file))
                                                    0)
                                       nil ,file))
                       (let ((dial (mailport--start "127.0.0.1" ,plan)))
                         (mailport--wait dial)
                         (message "No crash: %s" (mailport--dial-status dial)))))))
        (delete-directory folder t)))))

(ert-deftest mailport-builds-the-module-in-the-background-and-loads-it ()
  (mailport-tests--with
    (let* ((folder (file-name-as-directory (make-temp-file "mailport-tests-" t)))
           (cargo (expand-file-name "cargo" folder)))
      (unwind-protect
          (progn
            (with-temp-file cargo
              (insert "#!/bin/sh\necho \"compiling in $PWD: $*\"\n"
                      "until test -e \"" folder "go\"; do sleep 0.05; done\n"
                      "mkdir -p \"" folder "target/release\"\n"
                      "cp \"" (mailport--module-file) "\" \""
                      folder "target/release/libmailport_module.so\"\n"))
            (set-file-modes cargo #o700)
            (let ((said (mailport-tests--run
                         folder
                         `(progn
                            (require 'mailport)
                            (require 'compile)
                            (setq load-path (seq-remove (lambda (directory)
                                                          (file-equal-p directory mailport--here))
                                                        load-path)
                                  mailport-source-directory
                                  ,(expand-file-name "../.." mailport--here)
                                  mailport--here ,folder exec-path '(,folder "/bin"))
                            (setenv "PATH" (concat ,folder ":" (getenv "PATH")))
                            (setenv "CARGO_TARGET_DIR" ,(expand-file-name "target" folder))
                            (when (mailport--module-file)
                              (error "There is a module already"))
                            (let ((buffer (mailport-build-module)))
                              (when (featurep 'mailport-module)
                                (error "It waits"))
                              (write-region "" nil ,(expand-file-name "go" folder))
                              (while (not (featurep 'mailport-module))
                                (accept-process-output nil 0.05))
                              (message "%s" (with-current-buffer buffer (buffer-string))))
                            (message "Loaded: %s" (mailport-module-version))))))
              (should (string-match-p "compiling in .*: build --release -p mailport-emacs" said))
              (should (string-match-p (format "Loaded: %s" mailport-version) said))))
        (delete-directory folder t)))))

(provide 'mailport-close-tests)

;;; mailport-close-tests.el ends here
