;;; package-vc.el --- Install the package from a repository  -*- lexical-binding: t; -*-

;;; Commentary:

;; Emacs 29 and later can do so.  The repository is in the environment's REPOSITORY, and the module
;; where a distribution puts it.

;;; Code:

(require 'package-vc)

(setq user-emacs-directory (file-name-as-directory (make-temp-file "package-vc-" t))
      package-user-dir (expand-file-name "elpa" user-emacs-directory)
      package-archives nil)
(package-initialize)
(package-vc-install (list 'mailport :url (getenv "REPOSITORY") :lisp-dir "bindings/emacs"
                          :vc-backend 'Git))
(let ((compiled (directory-files-recursively package-user-dir "\\.elc\\'" nil nil)))
  (dolist (file compiled)
    (unless (string-match-p "/bindings/emacs/mailport[^/]*\\.elc\\'\\|-autoloads\\.elc\\'" file)
      (error "This was compiled: %s" file)))
  (unless (> (length compiled) 8)
    (error "Only these were compiled: %s" compiled)))
(dolist (command '(mailport-mode mailport-send-mode mailport-outbox mailport-mew-mode
                                 mailport-report mailport-forget mailport-build-module))
  (unless (fboundp command)
    (error "There is no %s" command)))
(mailport-mode 1)
(unless (string-prefix-p "/usr/lib/" (mailport--module-file))
  (error "Another module: %s" (mailport--module-file)))
(message "Installed from a repository, with %s" mailport-version)

;;; package-vc.el ends here
