;;; mailport-load.el --- Find, build and load the module  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Emacs keeps a module that it has loaded, and crashes when the file of that
;; module is overwritten.  So a copy is loaded, and removed at once.

;;; Code:

(require 'cl-lib)

(defconst mailport-version "0.1.0"
  "The version of these files.")

(defgroup mailport nil
  "Reach a mail server on its best port without freezing."
  :group 'mail
  :group 'comm
  :prefix "mailport-")

(defconst mailport--here
  (file-name-directory (or load-file-name buffer-file-name default-directory))
  "The directory of this file.")

(defcustom mailport-module-directories nil
  "Directories that are searched for the module before the usual ones.
The usual ones are the directory of mailport.el, /usr/lib/TRIPLET/emacs, where
a distribution may install it, and `load-path'.  The default is nil."
  :type '(repeat directory)
  :risky t)

(defcustom mailport-source-directory nil
  "The directory of mailport's source code, for `mailport-build-module'.
The default, nil, is the directory that mailport.el belongs to."
  :type '(choice (const :tag "Where mailport.el is" nil) directory)
  :risky t)

(declare-function mailport-module-flush "mailport-module")
(declare-function mailport-module-version "mailport-module")

(defun mailport--module-name ()
  "Return the file name of the module, without a directory."
  (unless module-file-suffix
    (error "This Emacs was built without modules, which mailport needs"))
  (concat "mailport-module" module-file-suffix))

(defun mailport--module-file ()
  "Return the file of the module, or nil if there is none."
  (let ((triplet (replace-regexp-in-string "-\\(?:pc\\|unknown\\)-" "-" system-configuration)))
    (locate-file (mailport--module-name)
                 (append mailport-module-directories
                         (list mailport--here (format "/usr/lib/%s/emacs" triplet))
                         load-path))))

(defun mailport--load-copy (file)
  "Load a copy of the module FILE, and remove the copy."
  ;; A temporary directory may forbid to execute what is in it.
  (let ((places (list temporary-file-directory (or (getenv "XDG_RUNTIME_DIR") "/dev/shm")
                      (file-name-directory file)))
        (loaded nil) (failure nil))
    (while (and places (not loaded))
      (condition-case error
          (let* ((temporary-file-directory (file-name-as-directory (pop places)))
                 (directory (make-temp-file "mailport-" t))
                 (copy (expand-file-name (mailport--module-name) directory)))
            (unwind-protect
                (progn
                  (copy-file file copy)
                  (module-load copy)
                  (setq loaded t))
              (delete-directory directory t)))
        (error (setq failure error))))
    (unless loaded
      (signal (car failure) (cdr failure)))
    (add-hook 'kill-emacs-hook #'mailport-module-flush)))

(defvar mailport--loaded-version nil
  "The version of the files by which a module of the same version was loaded.")

(defun mailport--load ()
  "Load the module if it is not loaded.
After an upgrade of the package, the module that is loaded is kept."
  (unless (and mailport--loaded-version (featurep 'mailport-module))
    (mailport--load-copy
     (or (mailport--module-file)
         (error "There is no %s: build it with M-x mailport-build-module"
                (mailport--module-name))))
    (unless (equal (mailport-module-version) mailport-version)
      (error "The module is mailport %s and mailport.el is %s: build it with %s"
             (mailport-module-version) mailport-version "M-x mailport-build-module"))
    (setq mailport--loaded-version mailport-version))
  (unless (equal mailport--loaded-version mailport-version)
    (setq mailport--loaded-version mailport-version)
    (message "mailport %s is installed; %s is used until you restart Emacs"
             mailport-version (mailport-module-version))))

;;;; Building

(defun mailport--source-directory ()
  "Return the directory of mailport's source code."
  (let ((found (cl-find-if (lambda (directory)
                             (file-exists-p (expand-file-name "bindings/emacs/Cargo.toml"
                                                              directory)))
                           (if mailport-source-directory
                               (list mailport-source-directory)
                             (list mailport--here (expand-file-name "../.." mailport--here))))))
    (unless found
      (user-error "There is no source code of mailport in %s: set `mailport-source-directory'"
                  (or mailport-source-directory mailport--here)))
    (file-name-as-directory (expand-file-name found))))

(defun mailport--install-built (built)
  "Put the library BUILT beside mailport.el, and load it."
  (let* ((file (expand-file-name (mailport--module-name) mailport--here))
         (new (concat file ".new")))
    (copy-file built new t)
    (rename-file new file t)
    (mailport--load)
    (message "The module of mailport %s is built and loaded" (mailport-module-version))))

;;;###autoload
(defun mailport-build-module ()
  "Compile the module in the background, and load it.
This needs Rust's cargo in the variable `exec-path'.  Return the buffer of the
compilation."
  (interactive)
  (unless (executable-find "cargo")
    (user-error "There is no cargo: install Rust (https://rustup.rs)"))
  (let* ((default-directory (mailport--source-directory))
         (target (file-name-as-directory
                  (expand-file-name (or (getenv "CARGO_TARGET_DIR") "target"))))
         (built (expand-file-name "release/libmailport_module.so" target))
         (buffer (compilation-start
                  (format "cargo build --release -p mailport-emacs --target-dir %s"
                          (shell-quote-argument target))
                  nil (lambda (_) "*mailport build*"))))
    (with-current-buffer buffer
      (add-hook 'compilation-finish-functions
                (lambda (_ status)
                  (if (string-prefix-p "finished" status)
                      (mailport--install-built built)
                    (message "The module of mailport could not be built: see %s" buffer)))
                nil t))
    buffer))

(provide 'mailport-load)

;;; mailport-load.el ends here
