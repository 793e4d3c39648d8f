// Go's net.Dialer: each port in turn, with a timer of 10 seconds.
//
// Usage: dialer HOST PORT... Of each number on standard input it makes that many dials, and prints
// the milliseconds that they took and the port that the last one reached (0: none).
package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

func dial(host string, ports []string) string {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	for _, port := range ports {
		connection, err := dialer.Dial("tcp", net.JoinHostPort(host, port))
		if err == nil {
			connection.Close()
			return port
		}
	}
	return "0"
}

func main() {
	var times int
	for {
		if _, err := fmt.Scanln(&times); err != nil {
			return
		}
		start, port := time.Now(), "0"
		for ; times > 0; times-- {
			port = dial(os.Args[1], os.Args[2:])
		}
		fmt.Printf("%.3f %s\n", time.Since(start).Seconds()*1e3, port)
	}
}
