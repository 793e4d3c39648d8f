// Sends a letter as Go's own net/smtp does: HOST:PORT FROM TO FILE.
package main

import (
	"log"
	"net/smtp"
	"os"
)

func main() {
	letter, err := os.ReadFile(os.Args[4])
	if err == nil {
		err = smtp.SendMail(os.Args[1], nil, os.Args[2], os.Args[3:4], letter)
	}
	if err != nil {
		log.Fatal(err)
	}
}
