package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"nidus/rpc/client"
	"nidus/rpc/control"
	"nidus/rpc/server"
)

// The ten lines that create a domain, wait for a line on its console, and destroy it.
// (ctx, target and cfg are what a program has: cfg is written by hand, or read by
// xltool/xlcfg from a file.)
func Example() {
	ctx, target, cfg := context.Background(), exampleHost(), exampleConfig

	c, err := client.Dial(ctx, target)
	check(err)
	defer c.Close()
	id, err := c.Create(ctx, cfg, control.CreateOptions{})
	check(err)
	con, err := c.ConsoleAttach(ctx, id, control.ConsoleOptions{History: true})
	check(err)
	for lines := bufio.NewScanner(con); lines.Scan() && !strings.Contains(lines.Text(), "login:"); {
	}
	check(c.Destroy(ctx, id))

	fmt.Println("domain", id, "was up")
	// Output: domain 1 was up
}

// A program decides by the kind of an error, and shows its message.
func ExampleDial_errors() {
	ctx := context.Background()
	c, err := client.Dial(ctx, exampleHost())
	check(err)
	defer c.Close()
	err = c.Destroy(ctx, 99)
	fmt.Println(errors.Is(err, control.ErrNoDomain), err)
	// Output: true there is no domain 99
}

// Events come in a range statement, until the loop ends.
func ExampleClient_AllEvents() {
	ctx := context.Background()
	c, err := client.Dial(ctx, exampleHost())
	check(err)
	defer c.Close()
	time.AfterFunc(0, func() { c.Create(ctx, exampleConfig, control.CreateOptions{}) })
	for e, err := range c.AllEvents(ctx) {
		check(err)
		if e.Kind == control.EventCreated {
			fmt.Println("created:", e.Name)
			break
		}
	}
	// Output: created: debian
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

var exampleConfig = control.DomainConfig{Type: control.PVH, Name: "debian", Kernel: "vmlinuz", Ramdisk: "initrd.gz",
	Cmdline: "console=hvc0", MemoryBytes: 256 << 20, VCPUs: 1, MaxVCPUs: 1}

// exampleHost runs a host of one domain on a Unix-domain socket.
func exampleHost() string {
	dir, err := os.MkdirTemp("", "nidus")
	check(err)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	check(err)
	go server.New(&oneDomain{mirror: mirror{answers: []any{nil}}}, server.Options{}).Serve(context.Background(), l)
	return "unix:" + l.Addr().String()
}

// oneDomain is a control plane with room for a domain that boots at once, and again
// and again.
type oneDomain struct {
	mirror
	mu sync.Mutex
	up bool
}

func (o *oneDomain) Create(context.Context, control.DomainConfig, control.CreateOptions) (control.DomID, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.up = true
	return 1, nil
}

func (o *oneDomain) Destroy(_ context.Context, id control.DomID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.up || id != 1 {
		return control.Errorf(control.ErrNoDomain, "there is no domain %d", id)
	}
	o.up = false
	return nil
}

func (o *oneDomain) ConsoleAttach(context.Context, control.DomID, control.ConsoleOptions) (control.Console, error) {
	r, w := io.Pipe()
	go io.WriteString(w, "Linux version 6.1\r\n...\r\ndebian login:\r\n")
	return bootConsole{r}, nil
}

type bootConsole struct{ *io.PipeReader }

func (bootConsole) Write(b []byte) (int, error) { return len(b), nil }

func (o *oneDomain) Events(context.Context) (control.EventStream, error) {
	return &mirrorStream[control.Event]{all: []control.Event{{Kind: control.EventCreated, ID: 1, Name: "debian"}}, closed: make(chan struct{})}, nil
}
