;;; frame.el --- A frame whose windows are watched while a dial runs  -*- lexical-binding: t; -*-

;;; Commentary:

;; frame.sh takes pictures of this.  A timer changes the colour of the lower window, and F5
;; dials two silent ports.

;;; Code:

(require 'mailport-tests)

(defun desktop-note (name)
  "Create the file NAME, which frame.sh waits for."
  (write-region "" nil (expand-file-name name (getenv "NOTES")) nil 'silent))

(defvar desktop-green nil "Whether the window is green and not red.")
(defvar desktop-colour nil "What the window has been remapped by.")

(defun desktop-tick ()
  "Give the lower window the other colour."
  (with-current-buffer (get-buffer-create "clock")
    (when desktop-colour
      (face-remap-remove-relative desktop-colour))
    (setq desktop-green (not desktop-green)
          desktop-colour (face-remap-add-relative
                          'default :background (if desktop-green "#00ff00" "#ff0000")))))

(defun desktop-dial ()
  "Dial two silent ports."
  (interactive)
  (desktop-note "dialling")
  (condition-case error
      (open-network-stream "mail" nil "127.0.0.1" 587 :type 'plain)
    ((error quit) (message "%S" error)))
  (desktop-note "ended"))

(menu-bar-mode -1)
(tool-bar-mode -1)
(blink-cursor-mode -1)
;; A line in the echo area would redraw the windows.
(setq mailport-verbose nil mailport-cache nil mailport-timeout 600 mailport-plans nil
      frame-resize-pixelwise t inhibit-startup-screen t ring-bell-function #'ignore)
(mailport-tests--plan (mailport-tests--silent) (mailport-tests--silent))
(mailport-mode 1)
(global-set-key [f5] #'desktop-dial)
(desktop-tick)
(set-frame-size nil 500 300 t)
(switch-to-buffer "*scratch*")
(delete-other-windows)
(set-window-buffer (split-window) "clock")
(run-at-time 0 0.37 #'desktop-tick)

;;; frame.el ends here
