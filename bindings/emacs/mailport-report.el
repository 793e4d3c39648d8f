;;; mailport-report.el --- The report of the last dials  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: MIT OR Apache-2.0

;;; Commentary:

;; `M-x mailport-report' shows the time, the host and the result of the last
;; dials, and every attempt on a time scale.

;;; Code:

(require 'tabulated-list)
(require 'mailport-dial)

(declare-function mailport-module-timeline "mailport-module")

(defvar-local mailport-report--width 80
  "The width of the report in columns.")

(define-derived-mode mailport-report-mode tabulated-list-mode "Mailport"
  "Major mode for the last dials, each with its attempts drawn below."
  (setq tabulated-list-format [("When" 9 t) ("Host" 28 t) ("Result" 0 nil)]
        tabulated-list-sort-key nil
        tabulated-list-printer #'mailport-report--print
        truncate-lines nil
        word-wrap t)
  (add-hook 'tabulated-list-revert-hook #'mailport-report--refresh nil t)
  (tabulated-list-init-header))

(defun mailport-report--refresh ()
  "Set the entries of the list."
  (setq mailport-report--width
        (max 60 (1- (let ((window (get-buffer-window)))
                      (if window (window-body-width window) 80))))
        tabulated-list-entries
        (mapcar (lambda (dial)
                  (list dial (vector (format-time-string "%H:%M:%S" (mailport--dial-began dial))
                                     (mailport--dial-host dial)
                                     (plist-get (mailport--report dial) :summary))))
                mailport--history)))

(defun mailport-report--print (dial columns)
  "Insert DIAL with its COLUMNS, and its attempts below.
A long result continues below its first column."
  (let ((start (point)))
    (tabulated-list-print-entry dial columns)
    (put-text-property start (point) 'wrap-prefix
                       (make-string (+ tabulated-list-padding 2 9 28) ?\s)))
  (let ((drawing (mailport-module-timeline (mailport--dial-handle dial) mailport-report--width)))
    (unless (equal drawing "")
      (insert (propertize (concat drawing "\n") 'tabulated-list-id dial 'face 'shadow)))
    (insert (propertize "\n" 'tabulated-list-id dial))))

;;;###autoload
(defun mailport-report ()
  "Show the last dials: their time, host, result and attempts."
  (interactive)
  (let ((buffer (get-buffer-create "*mailport report*")))
    (pop-to-buffer buffer)
    (mailport-report-mode)
    (mailport-report--refresh)
    (tabulated-list-print)
    (goto-char (point-min))))

(provide 'mailport-report)

;;; mailport-report.el ends here
