// Command probe runs in the lab's test pods: a server that says who it is, and the questions that a pod can ask.
//
//	probe serve            answers every request on :8080 with its own name and the caller's address
//	probe get URL          prints the answer, at most 2 s
//	probe lookup NAME      prints the addresses of a name
//	probe api METHOD PATH  asks the API server with the pod's own token; prints the status code
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// limit bounds every question: a test that waits longer polls.
const limit = 2 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	switch {
	case len(words) == 1 && words[0] == "serve":
		return serve()
	case len(words) == 2 && words[0] == "get":
		return get(words[1])
	case len(words) == 2 && words[0] == "lookup":
		return lookup(words[1])
	case len(words) == 3 && words[0] == "api":
		return api(words[1], words[2])
	}
	return fmt.Errorf("expected serve, get URL, lookup NAME or api METHOD PATH; got %q", words)
}

func serve() error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := http.Server{
		Addr:              ":8080",
		ReadHeaderTimeout: limit,
		Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
			peer, _, _ := net.SplitHostPort(request.RemoteAddr)
			fmt.Fprintf(answer, "host=%s peer=%s\n", host, peer)
		}),
	}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	fmt.Println("serving on :8080")
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func get(url string) error {
	client := http.Client{Timeout: limit}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func lookup(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addresses, " "))
	return nil
}

func api(method, path string) error {
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return errors.New("the mounted ca.crt holds no certificate")
	}
	request, err := http.NewRequest(method, "https://kubernetes.default.svc"+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	client := http.Client{Timeout: limit, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	fmt.Println(answer.StatusCode)
	return nil
}
