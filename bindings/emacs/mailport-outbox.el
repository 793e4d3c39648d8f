;;; mailport-outbox.el --- Letters that are not sent yet  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; The outbox is a directory.  A letter in it is two files: NUMBER.msg, the message
;; as it is sent, and NUMBER.eld, a property list:
;;
;;   :id         NUMBER
;;   :state      see `mailport--states'
;;   :reason     why it is in that state, or nil
;;   :attempts   how often sending it was started
;;   :queued     the time when it came
;;   :subject    for people
;;   :recipients the addresses, including those of Bcc
;;   :sender     the envelope sender
;;   :variables  the variables of the account, as an alist
;;
;; Files are written under another name, forced to disk, and renamed.  An
;; Emacs that changes a state holds the lock "state.lock"; the Emacs that sends a letter holds
;; "send.lock" until it has ended.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailport-load)

(declare-function mailport-module-lock "mailport-module")
(declare-function mailport-module-unlock "mailport-module")
(declare-function mailport-module-sync-directory "mailport-module")

(defcustom mailport-outbox-directory (locate-user-emacs-file "mailport-outbox/")
  "The directory of letters that are not sent yet.
It must not be `smtpmail-queue-dir'.  The default is \"mailport-outbox\" in
the directory of your Emacs configuration."
  :type 'directory
  :group 'mailport)

(defconst mailport--states
  '((queued . "waiting to be sent")
    (sending . "being sent")
    (data . "being sent; the server has the message and has not confirmed it")
    (waiting . "needs an answer from you")
    (failed . "not sent")
    (uncertain . "may have been sent")
    (editing . "being edited"))
  "The states of a letter in the outbox, and what they mean.")

;;;; Files

(defun mailport--outbox-file (id suffix)
  "Return the file of letter ID with SUFFIX."
  (expand-file-name (concat id suffix) mailport-outbox-directory))

(defun mailport--prepare-outbox ()
  "Create the outbox, if it is missing."
  (mailport--load)
  (when (and (bound-and-true-p smtpmail-queue-dir)
             (file-equal-p mailport-outbox-directory (symbol-value 'smtpmail-queue-dir)))
    (error "`mailport-outbox-directory' must not be `smtpmail-queue-dir'"))
  (unless (file-directory-p mailport-outbox-directory)
    (with-file-modes #o700
      (make-directory mailport-outbox-directory t))))

(defun mailport--outbox-sync ()
  "Force the names in the outbox to disk."
  (let ((failure (mailport-module-sync-directory
                  (expand-file-name mailport-outbox-directory))))
    (when failure
      (error "The outbox cannot be written: %s" failure))))

(defun mailport--outbox-write (id suffix coding)
  "Write the current buffer by CODING to the file of letter ID with SUFFIX.
The data are on disk when this returns; the name may not be."
  (let* ((file (mailport--outbox-file id suffix))
         (new (concat file ".new"))
         (coding-system-for-write coding)
         (write-region-annotate-functions nil)
         (write-region-post-annotation-function nil)
         ;; In batch mode, Emacs does not force files to disk.
         (write-region-inhibit-fsync nil)
         (file-name-handler-alist nil))
    (save-restriction
      (widen)
      (with-file-modes #o600
        (write-region (point-min) (point-max) new nil 'silent)))
    (rename-file new file t)))

(defmacro mailport--with-state-lock (&rest body)
  "Evaluate BODY, and let no other Emacs change a state meanwhile."
  (declare (indent 0) (debug t))
  `(let ((lock (mailport-module-lock (mailport--outbox-file "state" ".lock") t)))
     (when (stringp lock)
       (error "The outbox cannot be locked: %s" lock))
     (unwind-protect (progn ,@body)
       (mailport-module-unlock lock))))

;;;; Letters

(defun mailport--outbox-save (letter)
  "Write the property list LETTER."
  (with-temp-buffer
    (let ((print-length nil) (print-level nil) (print-circle nil)
          (print-escape-newlines t) (print-quoted t))
      (prin1 letter (current-buffer)))
    (insert "\n")
    (mailport--outbox-write (plist-get letter :id) ".eld" 'utf-8-emacs-unix))
  (mailport--outbox-sync))

(defun mailport--outbox-read (id)
  "Return letter ID, or nil if there is none."
  (let ((file (mailport--outbox-file id ".eld")))
    (condition-case nil
        (with-temp-buffer
          (let ((coding-system-for-read 'utf-8-emacs-unix)
                (file-name-handler-alist nil))
            (insert-file-contents file))
          (let ((letter (read (current-buffer))))
            (and (equal id (plist-get letter :id)) letter)))
      (file-missing nil)
      ((end-of-file invalid-read-syntax) nil))))

(defun mailport--outbox-letters ()
  "Return all letters, the oldest first."
  (delq nil
        (mapcar (lambda (name) (mailport--outbox-read (file-name-sans-extension name)))
                (and (file-directory-p mailport-outbox-directory)
                     (directory-files mailport-outbox-directory nil "\\.eld\\'")))))

(defvar mailport-outbox-change-hook nil
  "Functions that are called when this Emacs has changed the outbox.")

(defun mailport--outbox-set (id states &rest properties)
  "Set PROPERTIES of letter ID, if it is in one of STATES, and return it.
STATES t is any state.  Return nil, and change nothing, in another state."
  (prog1 (mailport--with-state-lock
           (let ((letter (mailport--outbox-read id)))
             (when (and letter (or (eq states t) (memq (plist-get letter :state) states)))
               (cl-loop for (key value) on properties by #'cddr
                        do (setq letter (plist-put letter key value)))
               (mailport--outbox-save letter)
               letter)))
    (run-hooks 'mailport-outbox-change-hook)))

(defun mailport--outbox-delete (id)
  "Delete letter ID, which is sent or not wanted."
  (mailport--with-state-lock
    (let ((file-name-handler-alist nil) (delete-by-moving-to-trash nil))
      (dolist (suffix '(".eld" ".msg"))
        (ignore-error file-missing
          (delete-file (mailport--outbox-file id suffix)))))
    (mailport--outbox-sync))
  (run-hooks 'mailport-outbox-change-hook))

(defvar mailport--outbox-count 0
  "The number of letters that this Emacs has queued.")

(defun mailport--outbox-add (message coding &rest properties)
  "Add a letter with PROPERTIES, and return it.
MESSAGE is a buffer with the message, which is encoded by CODING.  Everything
is on disk when this returns."
  (mailport--prepare-outbox)
  (let* ((id (format "%s-%d-%d" (format-time-string "%Y%m%dT%H%M%S.%6N" nil t) (emacs-pid)
                     (cl-incf mailport--outbox-count)))
         (letter (append (list :id id :state 'queued :reason nil :attempts 0
                               :queued (floor (float-time)))
                         properties)))
    (with-current-buffer message
      (mailport--outbox-write id ".msg" coding))
    (mailport--outbox-save letter)
    (run-hooks 'mailport-outbox-change-hook)
    letter))

(defun mailport--outbox-insert (id)
  "Insert the message of letter ID, as bytes."
  (let ((file-name-handler-alist nil))
    (insert-file-contents-literally (mailport--outbox-file id ".msg"))))

;;;; The list

(declare-function mailport--outbox-start "mailport-send")
(declare-function mailport--outbox-send-here "mailport-send")

(defvar mailport-outbox-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map "r" #'mailport-outbox-retry)
    (define-key map "s" #'mailport-outbox-send-here)
    (define-key map "e" #'mailport-outbox-edit)
    (define-key map "d" #'mailport-outbox-delete)
    (define-key map (kbd "RET") #'mailport-outbox-show)
    map)
  "Keys of the list of letters.")

(define-derived-mode mailport-outbox-mode tabulated-list-mode "Outbox"
  "Major mode for the letters that are not sent yet.
\\<mailport-outbox-mode-map>
\\[mailport-outbox-retry]	send the letter again, in the background
\\[mailport-outbox-send-here]	send it now; questions about passwords and certificates are asked
\\[mailport-outbox-edit]	edit it, and send it as a new letter
\\[mailport-outbox-delete]	delete it
\\[mailport-outbox-show]	show the message"
  (setq tabulated-list-format [("Since" 17 t) ("To" 26 t) ("Subject" 30 t) ("State" 0 nil)]
        tabulated-list-sort-key nil)
  (add-hook 'tabulated-list-revert-hook #'mailport-outbox--refresh nil t)
  (tabulated-list-init-header))

(defun mailport-outbox--refresh ()
  "Set the entries of the list."
  (setq tabulated-list-entries
        (mapcar
         (lambda (letter)
           (let ((state (cdr (assq (plist-get letter :state) mailport--states)))
                 (reason (plist-get letter :reason)))
             (list (plist-get letter :id)
                   (vector (format-time-string "%Y-%m-%d %H:%M" (plist-get letter :queued))
                           (string-join (plist-get letter :recipients) ", ")
                           (or (plist-get letter :subject) "")
                           (if reason (format "%s: %s" state reason) (or state "unknown"))))))
         (mailport--outbox-letters))))

(defun mailport-outbox--update ()
  "Refresh the list, if there is one."
  (let ((buffer (get-buffer "*mailport outbox*")))
    (when buffer
      (with-current-buffer buffer
        (mailport-outbox--refresh)
        (tabulated-list-print t)))))

;;;###autoload
(defun mailport-outbox ()
  "List the letters that are not sent yet, and why."
  (interactive)
  (require 'mailport-send)
  (mailport--prepare-outbox)
  (pop-to-buffer (get-buffer-create "*mailport outbox*"))
  (mailport-outbox-mode)
  (mailport-outbox--refresh)
  (tabulated-list-print)
  (add-hook 'mailport-outbox-change-hook #'mailport-outbox--update))

(defun mailport-outbox--id ()
  "Return the letter of this line."
  (or (tabulated-list-get-id) (user-error "There is no letter on this line")))

(defconst mailport--resting '(queued waiting failed uncertain editing)
  "The states of letters that are not being sent.")

(defun mailport--outbox-confirm (id)
  "Ask about letter ID if it may have been sent already."
  (when (and (eq 'uncertain (plist-get (mailport--outbox-read id) :state))
             (not (yes-or-no-p "The server may have this letter already.  Send it again? ")))
    (user-error "Not sent")))

(defun mailport-outbox-retry ()
  "Send the letter of this line again, in the background."
  (interactive)
  (let ((id (mailport-outbox--id)))
    (mailport--outbox-confirm id)
    (unless (mailport--outbox-set id mailport--resting :state 'queued :reason nil :attempts 0)
      (user-error "This letter is being sent"))
    (mailport--outbox-start)))

(defun mailport-outbox-send-here ()
  "Send the letter of this line now, while Emacs waits.
Questions about passwords and certificates are asked."
  (interactive)
  (let ((id (mailport-outbox--id)))
    (mailport--outbox-confirm id)
    (mailport--outbox-send-here id)))

(defun mailport-outbox-delete ()
  "Delete the letter of this line, after a question."
  (interactive)
  (let ((id (mailport-outbox--id)))
    (when (yes-or-no-p "Delete this letter, without sending it? ")
      (unless (mailport--outbox-set id mailport--resting :state 'editing)
        (user-error "This letter is being sent"))
      (mailport--outbox-delete id))))

(defun mailport-outbox-show ()
  "Show the message of this line."
  (interactive)
  (let ((id (mailport-outbox--id)))
    (with-current-buffer (get-buffer-create "*mailport letter*")
      (let ((inhibit-read-only t))
        (erase-buffer)
        (mailport--outbox-insert id)
        (goto-char (point-min)))
      (view-mode 1)
      (pop-to-buffer (current-buffer)))))

;;;; Editing

(declare-function message-add-action "message")
(declare-function message-mode "message")
(declare-function message-narrow-to-headers "message")
(declare-function message-remove-header "message")
(declare-function mail-extract-address-components "mail-extr")
(declare-function mime-to-mml "mml")
(defvar mail-header-separator)

(defun mailport--addresses (header)
  "Return the lower-case addresses in HEADER of the current buffer."
  (let ((value (mail-fetch-field header nil t)))
    (and value
         (mapcar (lambda (address) (downcase (or (cadr address) "")))
                 (mail-extract-address-components value t)))))

(defun mailport-outbox-edit ()
  "Edit the letter of this line.
Its Message-ID stays.  No header asks for a copy in a folder, because your mail
client has stored one already.  The letter in the outbox is deleted when you
send this buffer."
  (interactive)
  (require 'message)
  (require 'mml)
  (require 'mail-utils)
  (let* ((id (mailport-outbox--id))
         (letter (or (mailport--outbox-set id mailport--resting :state 'editing)
                     (user-error "This letter is being sent"))))
    (switch-to-buffer (generate-new-buffer "*mailport edit*"))
    (mailport--outbox-insert id)
    (mime-to-mml)
    (goto-char (point-min))
    (search-forward "\n\n" nil 'move)
    (forward-char -1)
    (insert mail-header-separator)
    (message-mode)
    (save-restriction
      (message-narrow-to-headers)
      ;; It gets a new date when it is sent.
      (message-remove-header "Date")
      (let* ((seen (append (mailport--addresses "to") (mailport--addresses "cc")))
             (blind (cl-remove-if (lambda (address) (member (downcase address) seen))
                                  (plist-get letter :recipients))))
        (goto-char (point-max))
        (when blind
          (insert "Bcc: " (string-join blind ", ") "\n")))
      (mailport--insert-method letter))
    (goto-char (point-min))
    (search-forward (concat "\n" mail-header-separator "\n") nil t)
    (set-buffer-modified-p nil)
    (message-add-action (lambda () (mailport--outbox-delete id)) 'send)
    (message-add-action (lambda ()
                          (mailport--outbox-set id '(editing) :state 'failed
                                                :reason "the edited letter was not sent"))
                        'kill 'postpone)))

(defun mailport--insert-method (letter)
  "Insert a header by which the account of LETTER is used again, if it is another."
  (let* ((variables (plist-get letter :variables))
         (account (mapcar (lambda (name) (alist-get name variables))
                          '(smtpmail-smtp-server smtpmail-smtp-service smtpmail-smtp-user))))
    (unless (equal account (mapcar (lambda (name) (and (boundp name) (symbol-value name)))
                                   '(smtpmail-smtp-server smtpmail-smtp-service
                                                          smtpmail-smtp-user)))
      (insert (format "X-Message-SMTP-Method: smtp %s %s%s\n" (car account) (cadr account)
                      (if (nth 2 account) (concat " " (nth 2 account)) ""))))))

(provide 'mailport-outbox)

;;; mailport-outbox.el ends here
