// SPDX-License-Identifier: MIT

// Answers ferry-check with Go's net/http/fcgi. Words that it has nothing for are left out: app status, STDERR, the other
// roles, and being told of an abort.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/fcgi"
	"os"
	"strconv"
	"strings"
	"time"
)

const words = "echo length params get size sleep slow tiny empties none unread stray"

// The text behind name= in the query string.
func argument(r *http.Request, name string) string {
	for _, pair := range strings.Split(r.URL.RawQuery, "&") {
		if value := strings.TrimPrefix(pair, name+"="); value != pair {
			return value
		}
	}
	return ""
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	buf := make([]byte, 65536)
	for {
		n, err := r.Body.Read(buf)
		w.Write(buf[:n])
		flush(w)
		if err != nil {
			return
		}
	}
}

func params(w http.ResponseWriter, r *http.Request) {
	for name, value := range fcgi.ProcessEnv(r) {
		fmt.Fprintf(w, "%d %d\n%s%s\n", len(name), len(value), name, value)
	}
}

func get(w http.ResponseWriter, r *http.Request) {
	value, found := fcgi.ProcessEnv(r)[argument(r, "name")]
	if found {
		fmt.Fprintf(w, "is %s\n", value)
	} else {
		fmt.Fprintln(w, "none")
	}
}

func slow(w http.ResponseWriter, n int, ms int) {
	for i := 0; i < n; i++ {
		if _, err := fmt.Fprintln(w, i); err != nil {
			return
		}
		flush(w)
		time.Sleep(time.Duration(ms) * time.Millisecond)
	}
}

func handle(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(argument(r, "n"))
	ms, _ := strconv.Atoi(argument(r, "ms"))

	w.Header().Set("Content-Type", "text/plain")
	switch argument(r, "ferry-check") {
	case "about":
		fmt.Fprintf(w, "ferry-check 1\n%s\nnet/http/fcgi\n", words)
	case "echo":
		echo(w, r)
	case "length":
		count, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, count)
	case "params":
		params(w, r)
	case "get":
		get(w, r)
	case "size":
		io.WriteString(w, strings.Repeat("abcdefghijklmnopqrstuvwxyz", n/26+1)[:n])
	case "sleep":
		time.Sleep(time.Duration(ms) * time.Millisecond)
		fmt.Fprintln(w, "slept")
	case "slow":
		slow(w, n, ms)
	case "tiny":
		for ; n > 0; n-- {
			io.WriteString(w, ".")
		}
	case "empties":
		for _, piece := range []string{"", "a", "", "bc\n", ""} {
			io.WriteString(w, piece)
			flush(w)
		}
	case "none":
	case "stray":
		fmt.Println("this is no FastCGI")
		fmt.Fprintln(os.Stderr, "this is no FastCGI")
		fmt.Fprintln(w, "stray")
	default:
		fmt.Fprintln(w, "hello")
	}
}

func main() {
	if err := fcgi.Serve(nil, http.HandlerFunc(handle)); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}
