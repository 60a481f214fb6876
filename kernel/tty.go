//go:build tamago

package main

import (
	"bytes"
	"context"
	"io"
	"sync"

	"nidus/drivers/uart"
	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/console"
	"nidus/mm"
)

// tty is the serial line: the log, the shell and, one at a time, the guests'
// consoles are shown on it; what is typed goes to the shell or to a guest.
type tty struct {
	mu     sync.Mutex // the line
	port   *uart.Port
	screen io.Writer // console=vga; nil: none

	shell chan []byte // input for the shell

	muxmu   sync.Mutex
	mux     *console.Mux
	readers map[mm.DomID]*console.Reader
	show    context.CancelFunc // ends what shows the target's output
	showing mm.DomID
	host    *host
}

type ports struct{}

func (ports) In8(p uint16) uint8     { return baremetal.In8(p) }
func (ports) Out8(p uint16, v uint8) { baremetal.Out8(p, v) }

// newTTY returns the line as the boot code left it: COM1, polled.
func newTTY() *tty {
	t := &tty{shell: make(chan []byte, 64), readers: map[mm.DomID]*console.Reader{}}
	t.mux = console.NewMux(func(s string) { t.Write([]byte(s)) })
	return t
}

// Write sends to the line, with carriage returns.
func (t *tty) Write(p []byte) (int, error) {
	var b []byte
	for i, c := range p {
		if c == '\n' && (i == 0 || p[i-1] != '\r') {
			b = append(b, '\r')
		}
		b = append(b, c)
	}
	t.raw(b)
	return len(p), nil
}

func (t *tty) raw(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.screen != nil {
		t.screen.Write(b)
	}
	if t.port != nil {
		t.port.Write(b)
		return
	}
	baremetal.WriteConsole(b)
}

// start opens the port as the options say, and listens.
func (t *tty) start(h *host) {
	t.host = h
	o := h.Options
	com := 0
	for _, c := range o.Console {
		switch c {
		case "com2":
			com = 1
		case "vga":
			t.openScreen(h)
		}
	}
	s := o.Com[com]
	if s.Baud == 0 { // auto: as the boot code left it
		s.Baud = 115200
	}
	port, err := uart.Open(ports{}, s.IOBase, uart.Line{Baud: int(s.Baud), DataBits: int(s.DataBits), Parity: s.Parity, StopBits: int(s.StopBits)})
	if err != nil {
		h.log.Printf(console.LevelWarning, "%v; the boot's COM1 is used, without input", err)
		return
	}
	t.mu.Lock()
	t.port = port
	t.mu.Unlock()
	t.mux.Configure(conswitch(o))
	v, err := h.RouteISA(s.IRQ)
	if err != nil {
		h.log.Printf(console.LevelWarning, "serial input: %v", err)
		return
	}
	port.EnableReceive()
	go t.listen(port, v)
}

// openScreen shows the log so far, and what comes, on the screen too.
func (t *tty) openScreen(h *host) {
	screen, err := h.Screen()
	if err != nil {
		h.log.Printf(console.LevelWarning, "%v", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	screen.Write(bytes.ReplaceAll(h.log.Bytes(), []byte("\n"), []byte("\r\n")))
	t.screen = screen
}

// conswitch is the mux's word for the options.
func conswitch(o *boot.Options) string {
	s := "`"
	if o.SwitchKey != 0 {
		s = string(rune(o.SwitchKey + 'a' - 1))
	}
	if o.StayOnShell {
		s += "x"
	}
	return s
}

func (t *tty) listen(port *uart.Port, vector uint8) {
	var buf [256]byte
	for seen := uint32(0); ; {
		for n := port.Receive(buf[:]); n > 0; n = port.Receive(buf[:]) {
			t.muxmu.Lock()
			t.mux.Input(buf[:n], t.deliver)
			t.follow()
			t.muxmu.Unlock()
		}
		seen = baremetal.WaitIRQ(vector, seen)
	}
}

// deliver hands typed bytes to the shell or a guest; who doesn't read loses them.
func (t *tty) deliver(to mm.DomID, b []byte) {
	if to == 0 {
		select {
		case t.shell <- append([]byte(nil), b...):
		default:
		}
		return
	}
	if e, err := t.host.core.Domain(to); err == nil {
		e.Input(b)
	}
}

// follow shows the output of whom the input goes to. muxmu is held.
func (t *tty) follow() {
	to := t.mux.Target()
	if to == t.showing {
		return
	}
	if t.show != nil {
		t.show()
		t.show = nil
	}
	t.showing = to
	r := t.readers[to]
	if r == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.show = cancel
	go func() {
		var b [1024]byte
		for {
			n, err := r.Read(ctx, b[:])
			if n > 0 {
				t.raw(b[:n])
			}
			if err != nil {
				return
			}
		}
	}()
}

// add puts a domain into the circle of targets; focus moves the input there.
func (t *tty) add(id mm.DomID, h *console.History, focus bool) {
	t.muxmu.Lock()
	defer t.muxmu.Unlock()
	if t.readers[id] == nil {
		t.readers[id] = h.Attach()
		t.mux.AddDomain(id)
	}
	if focus {
		t.mux.SwitchTo(id)
	}
	t.follow()
}

// remove takes a domain out, once what it wrote last is shown.
func (t *tty) remove(id mm.DomID) {
	t.muxmu.Lock()
	defer t.muxmu.Unlock()
	if r := t.readers[id]; r != nil && t.showing == id {
		if t.show != nil {
			t.show()
			t.show = nil
		}
		var b [1024]byte
		for n := r.TryRead(b[:]); n > 0; n = r.TryRead(b[:]) {
			t.raw(b[:n])
		}
	}
	delete(t.readers, id)
	t.mux.RemoveDomain(id)
	t.follow()
}

// shellTTY is the line as the shell has it (shell.Terminal).
type shellTTY struct {
	t    *tty
	rest []byte
}

// Read implements shell.Terminal.
func (s *shellTTY) Read(ctx context.Context, p []byte) (int, error) {
	if len(s.rest) == 0 {
		select {
		case s.rest = <-s.t.shell:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Write implements shell.Terminal.
func (s *shellTTY) Write(p []byte) (int, error) {
	s.t.raw(p)
	return len(p), nil
}
