//go:build tamago

package main

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"nidus/drivers/uart"
	"nidus/kernel/baremetal"
	"nidus/kernel/boot"
	"nidus/kernel/console"
	"nidus/kernel/machine"
	"nidus/mm"
	"nidus/xltool/shell"
)

// tty is the console: serial lines and the screen, all with the same. The log, the
// shell and, one at a time, the guests' consoles are shown on it; what is typed on
// any line goes to the shell or to a guest.
type tty struct {
	mu     sync.Mutex // of what is shown
	lines  []line
	boot   bool      // the boot's COM1 instead of a line
	screen io.Writer // console=vga; nil: none
	row    console.PromptRow
	last   byte // that was sent

	shell chan []byte // input for the shell

	muxmu   sync.Mutex
	mux     *console.Mux
	readers map[mm.DomID]*console.Reader
	show    context.CancelFunc // ends what shows the target's output
	showing mm.DomID
	host    *host
}

// line is a serial port.
type line struct {
	*uart.Port
	irq  uint8         // 0: polled
	poll time.Duration // how often, then
}

type ports struct{}

func (ports) In8(p uint16) uint8     { return baremetal.In8(p) }
func (ports) Out8(p uint16, v uint8) { baremetal.Out8(p, v) }

// newTTY returns a console that shows nothing yet: until the command line is read
// nobody knows where, and the log keeps what it is told.
func newTTY() *tty {
	t := &tty{shell: make(chan []byte, 64), readers: map[mm.DomID]*console.Reader{}}
	t.row.Prompt = shell.Prompt
	t.mux = console.NewMux(t.notice)
	return t
}

// notice says where the input goes, in a line of its own; the shell's prompt
// follows if it goes there.
func (t *tty) notice(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row.Other()
	if t.last != '\n' {
		t.send([]byte("\r\n"))
	}
	t.send([]byte(s + "\r\n"))
	if t.mux.Target() == 0 {
		t.send(t.row.Again())
	}
}

// Write sends lines, with carriage returns. They go above the shell's prompt and
// what is being typed.
func (t *tty) Write(p []byte) (int, error) {
	var b []byte
	for i, c := range p {
		if c == '\n' && (i == 0 || p[i-1] != '\r') {
			b = append(b, '\r')
		}
		b = append(b, c)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.send(t.row.Above(b))
	return len(p), nil
}

// guest sends what a guest writes.
func (t *tty) guest(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row.Other()
	t.send(b)
}

// send sends bytes as they are. t.mu is held.
func (t *tty) send(b []byte) {
	if len(b) > 0 {
		t.last = b[len(b)-1]
	}
	if t.screen != nil {
		t.screen.Write(b)
	}
	for _, l := range t.lines {
		l.Write(b)
	}
	if t.boot {
		baremetal.WriteConsole(b)
	}
}

// open opens the serial ports of console= and shows the log so far there. With
// none in the list nothing is shown, ever; what a dying machine says goes to the
// first port, or to COM1 if there is but the screen.
func (t *tty) open(m *machine.Machine, log *console.Log) {
	o := m.Options
	var lines []line
	asked := false
	for i, name := range []string{"com1", "com2"} {
		if !slices.Contains(o.Console, name) {
			continue
		}
		asked = true
		l, err := openLine(o.Com[i])
		if err != nil {
			log.Printf(console.LevelWarning, "%s: %v", name, err)
			continue
		}
		if lines == nil {
			baremetal.SetConsole(o.Com[i].IOBase)
		}
		lines = append(lines, l)
	}
	switch {
	case asked && lines == nil:
		log.Printf(console.LevelWarning, "no serial port of console= is there; the boot's COM1 is used, without input")
		t.openBoot(log)
		return
	case slices.Contains(o.Console, "none") && len(o.Console) == 1:
		baremetal.SetConsole(0)
	case !asked:
		log.Printf(console.LevelWarning, "console=: no serial port, so there is no input, and the shell can't be reached")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range lines {
		l.Write(history(log))
	}
	t.lines = lines
}

// openLine opens a port as the options say.
func openLine(s boot.Serial) (line, error) {
	set := uart.Line{Baud: int(s.Baud), DataBits: int(s.DataBits), Parity: s.Parity, StopBits: int(s.StopBits)}
	if s.IOBase == baremetal.COM1 { // the boot code has changed it
		set.Was = uart.Setting{Divisor: baremetal.FirmwareDivisor, Control: baremetal.FirmwareLCR}
	}
	p, err := uart.Open(ports{}, s.IOBase, set)
	if err != nil {
		return line{}, err
	}
	return line{p, s.IRQ, set.FillTime()}, nil
}

// openBoot shows the log so far, and what comes, on the boot's COM1.
func (t *tty) openBoot(log *console.Log) {
	t.mu.Lock()
	defer t.mu.Unlock()
	baremetal.WriteConsole(history(log))
	t.boot = true
}

// openScreen shows the log so far, and what comes, on the screen if console= has it.
func (t *tty) openScreen(m *machine.Machine, log *console.Log) {
	if !slices.Contains(m.Options.Console, "vga") {
		return
	}
	screen, err := m.Screen()
	if err != nil {
		log.Printf(console.LevelWarning, "%v", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	screen.Write(history(log))
	t.screen = screen
}

// history is the log so far.
func history(log *console.Log) []byte {
	return bytes.ReplaceAll(log.Bytes(), []byte("\n"), []byte("\r\n"))
}

// start listens on the lines.
func (t *tty) start(h *host) {
	t.host = h
	t.mux.Configure(conswitch(h.Options))
	if len(t.lines) > 0 {
		t.mux.Start()
	}
	for _, l := range t.lines {
		if l.irq == 0 {
			go t.poll(l)
			continue
		}
		v, err := h.RouteISA(l.irq)
		if err != nil {
			h.log.Printf(console.LevelWarning, "serial input: %v; it is polled", err)
			go t.poll(l)
			continue
		}
		l.EnableReceive()
		go t.listen(l, v)
	}
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

// listen waits for a line's interrupts.
func (t *tty) listen(l line, vector uint8) {
	for seen := uint32(0); ; {
		t.receive(l)
		seen = baremetal.WaitIRQ(vector, seen)
	}
}

// poll looks at a line before its FIFO can be full.
func (t *tty) poll(l line) {
	for range time.Tick(l.poll) {
		t.receive(l)
	}
}

// receive takes in what has been typed.
func (t *tty) receive(l line) {
	var buf [256]byte
	for n := l.Receive(buf[:]); n > 0; n = l.Receive(buf[:]) {
		t.muxmu.Lock()
		t.mux.Input(buf[:n], t.deliver)
		t.follow()
		t.muxmu.Unlock()
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
				t.guest(b[:n])
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
			t.guest(b[:n])
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
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.t.row.Shell(p)
	s.t.send(p)
	return len(p), nil
}
