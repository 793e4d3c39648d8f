;;; mailport-docs-tests.el --- the examples of the pages run  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Every block of Emacs Lisp in the README of the repository and in that of the package is read.
;; What an init file would have is evaluated as it is written; a block that lists functions with
;; their arguments must name functions that exist.
;;
;; The recipe makes a package that can build its module, and whose tests are not compiled.

;;; Code:

(require 'ert)
(require 'mailport)

(defconst mailport-docs-tests--root
  (expand-file-name "../../.." (file-name-directory (or load-file-name buffer-file-name))))

(defun mailport-docs-tests--blocks (page)
  "Return the blocks of Emacs Lisp in PAGE, each as a list of forms."
  (with-temp-buffer
    (insert-file-contents (expand-file-name page mailport-docs-tests--root))
    (let (blocks)
      (while (re-search-forward "^```elisp\n\\(\\(?:.*\n\\)*?\\)```" nil t)
        (push (car (read-from-string (format "(%s)" (match-string 1)))) blocks))
      (nreverse blocks))))

(ert-deftest mailport-docs-tests-every-example-of-an-init-file-turns-its-mode-on ()
  (let ((count 0))
    (dolist (page '("README.md" "bindings/emacs/README.md"))
      (dolist (block (mailport-docs-tests--blocks page))
        (dolist (form block)
          (pcase form
            (`(,mode 1)
             (unwind-protect
                 (progn (eval form t)
                        (should (symbol-value mode))
                        (setq count (1+ count)))
               (funcall mode -1)))
            (`(,(or 'require 'setq 'add-hook) . ,_) (eval form t))
            (`(,function . ,_)
             (when (string-prefix-p "mailport-" (symbol-name function))
               (should (fboundp function))))))))
    (should (>= count 2))))

;;;; The recipe

(defun mailport-docs-tests--copy (patterns folder)
  "Copy the files and directories that match PATTERNS into FOLDER."
  (make-directory folder t)
  (dolist (pattern patterns)
    (let ((found (file-expand-wildcards (expand-file-name pattern mailport-docs-tests--root))))
      (ert-info ((format "Nothing matches %s" pattern)) (should found))
      (dolist (file found)
        (let ((copy (expand-file-name (file-name-nondirectory file) folder)))
          (if (file-directory-p file)
              (copy-directory file copy)
            (copy-file file copy)))))))

(ert-deftest mailport-docs-tests-the-recipe-makes-a-package-that-builds-its-module ()
  (let ((recipe (with-temp-buffer
                  (insert-file-contents (expand-file-name "bindings/emacs/recipes/mailport"
                                                          mailport-docs-tests--root))
                  (read (current-buffer))))
        (folder (file-name-as-directory (make-temp-file "mailport-tests-" t))))
    (unwind-protect
        (let ((mailport--here folder) (mailport-source-directory nil) (default-directory folder))
          (should (eq 'mailport (car recipe)))
          (dolist (part (plist-get (cdr recipe) :files))
            (if (stringp part)
                (mailport-docs-tests--copy (list part) folder)
              (mailport-docs-tests--copy (cdr part) (expand-file-name (car part) folder))))
          (should (equal folder (mailport--source-directory)))
          (with-temp-buffer
            (let ((status (call-process "cargo" nil t nil "metadata" "--offline" "--locked"
                                        "--no-deps" "--format-version" "1")))
              (ert-info ((buffer-string)) (should (= 0 status)))))
          (dolist (file (directory-files-recursively folder "\\.el\\'"))
            (unless (string-match-p "\\`mailport[^/]*\\.el\\'" (file-relative-name file folder))
              (with-temp-buffer
                (insert-file-contents file)
                (ert-info ((format "%s would be compiled" file))
                  (should (search-forward "no-byte-compile: t" (line-end-position) t)))))))
      (delete-directory folder t))))

(provide 'mailport-docs-tests)
;;; mailport-docs-tests.el ends here
