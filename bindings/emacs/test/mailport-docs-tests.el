;;; mailport-docs-tests.el --- the examples of the pages run  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; Every block of Emacs Lisp in the README of the repository and in that of the package is read.
;; What an init file would have is evaluated as it is written; a block that lists functions with
;; their arguments must name functions that exist.

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

(provide 'mailport-docs-tests)
;;; mailport-docs-tests.el ends here
