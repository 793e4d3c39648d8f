<?php
// Sends a letter as PHPMailer does: HOST PORT FROM TO SUBJECT CERTIFICATE.
foreach (["Exception", "PHPMailer", "SMTP"] as $class)
    require "/usr/share/php/libphp-phpmailer/src/$class.php";
[, $host, $port, $from, $to, $subject, $trust] = $argv;
$mail = new PHPMailer\PHPMailer\PHPMailer(true);
$mail->isSMTP();
[$mail->Host, $mail->Port, $mail->SMTPSecure] = [$host, (int) $port, "tls"];
$mail->SMTPOptions = ["ssl" => ["cafile" => $trust]];
$mail->setFrom($from);
$mail->addAddress($to);
[$mail->Subject, $mail->Body] = [$subject, "Hello."];
$mail->send();
