;;; lint.el --- Whether the package is clean  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Run by `make test' on the files that the command line names, whose main file
;; comes first: package-lint, checkdoc, and both compilers with warnings as
;; errors.  Nothing is written beside the files.

;;; Code:

(require 'bytecomp)
(require 'checkdoc)
(require 'cl-lib)
(require 'comp)
(require 'package)

;; An installed mailport would come before the one here.
(setq package-user-dir (make-temp-name (expand-file-name "none" temporary-file-directory)))
;; Where Debian's site-start, which -Q leaves out, has it looked for.
(add-to-list 'package-directory-list "/usr/share/emacs/site-lisp/elpa")
(package-initialize)
(require 'package-lint)

(defconst lint-expected
  '("This makes the package uninstallable in all released Emacs versions.")
  "What package-lint says without reason.
Version 0.16 is older than Emacs 28, which the package needs.")

(defun lint-package (main)
  "Return what package-lint says of the current buffer, of the package of MAIN."
  (let ((package-lint-main-file main))
    (cl-loop for (line column kind text) in (package-lint-buffer)
             unless (and (member text lint-expected)
                         (save-excursion
                           (goto-char (point-min))
                           (forward-line (1- line))
                           (looking-at-p ";; Package-Requires: ((emacs \"28\\.1\"))$")))
             collect (format "%d:%d: %s: %s" line column kind text))))

(defun lint-docs ()
  "Return what checkdoc says of the current buffer."
  (let* ((said nil)
         (checkdoc-autofix-flag 'never)
         (checkdoc-create-error-function
          (lambda (text start &rest _)
            (push (format "%d: %s" (line-number-at-pos (or start (point-min))) text) said)
            nil)))
    (save-window-excursion (checkdoc-current-buffer t))
    (nreverse said)))

(defun lint-compile (file folder)
  "Return what either compiler says of FILE, having written to FOLDER."
  (let* ((name (file-name-nondirectory file))
         (byte-compile-error-on-warn t)
         (byte-compile-dest-file-function (lambda (_) (expand-file-name (concat name "c") folder)))
         (native-comp-async-report-warnings-errors t))
    (condition-case error
        (progn
          (unless (eq t (byte-compile-file file))
            (error "The byte compiler says so"))
          (load (native-compile file (expand-file-name (concat name "n") folder)) nil t)
          nil)
      (error (list (error-message-string error))))))

(defun lint-file (file main folder)
  "Print what is wrong with FILE of the package of MAIN, and return that."
  (let ((said (append
               (with-temp-buffer
                 (insert-file-contents file t)
                 (emacs-lisp-mode)
                 (append (lint-package main) (lint-docs)))
               (lint-compile file folder))))
    (dolist (line said)
      (message "%s: %s" file line))
    said))

(unless (native-comp-available-p)
  (error "This Emacs cannot compile natively"))
(let* ((files (mapcar #'expand-file-name command-line-args-left))
       (folder (make-temp-file "mailport-lint-" t))
       (said (unwind-protect
                 (cl-loop for file in files append (lint-file file (car files) folder))
               (delete-directory folder t))))
  (setq command-line-args-left nil)
  (message "%d files looked at, %d complaints" (length files) (length said))
  (kill-emacs (if said 1 0)))

;;; lint.el ends here
