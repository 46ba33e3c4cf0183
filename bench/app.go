// SPDX-License-Identifier: MIT

// app SOCKET: examples/hello.c as it is written with Go's net/http/fcgi, for measuring it.
package main

import (
	"log"
	"net"
	"net/http"
	"net/http/fcgi"
	"os"
	"strconv"
	"strings"
)

func main() {
	filler := make([]byte, 1<<20)
	for i := range filler {
		filler[i] = '.'
	}
	l, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(fcgi.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if n := strings.TrimPrefix(r.URL.Path, "/bytes/"); n != r.URL.Path {
			w.Header().Set("Content-Length", n)
			for left, _ := strconv.Atoi(n); left > 0; left -= len(filler) {
				if left < len(filler) {
					w.Write(filler[:left])
				} else {
					w.Write(filler)
				}
			}
			return
		}
		w.Header().Set("Content-Length", "12")
		w.Write([]byte("hello, ferry"))
	})))
}
