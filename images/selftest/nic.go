//go:build tamago

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"nidus/drivers/device"
	"nidus/drivers/hostnic"
	"nidus/drivers/link"
	"nidus/drivers/pci"
	"nidus/kernel/baremetal"
	"nidus/kernel/machine"
	"nidus/mm"
)

// QEMU's user network: its gateway answers ARP (RFC 826) and pings (RFC 792).
var (
	gateway = [4]byte{10, 0, 2, 2}
	ours    = [4]byte{10, 0, 2, 15}
)

// wire is a network card and what of it this check uses.
type wire struct {
	port link.Port
	host device.Host
	came chan []byte
	done chan *link.Frame
	peer link.MAC
}

// network drives the first network card: it finds the gateway and pings it, in frames of
// all lengths, in several pieces.
func network(m *machine.Machine) (string, error) {
	pool := mm.NewPool(&baremetal.Frames, baremetal.FrameLists{}, baremetal.DirectPages{})
	host := m.Devices(pool)
	port, err := openNIC(host)
	if err != nil {
		return "", err
	}
	w := &wire{port: port, host: host, came: make(chan []byte, 256), done: make(chan *link.Frame, 256)}
	if err := w.linkUp(); err != nil {
		return "", err
	}
	port.Receive(func(frames []*link.Frame) {
		for _, f := range frames {
			select {
			case w.came <- contents(host, f):
			default:
			}
			f.Done(f)
		}
	})
	if err := w.resolve(); err != nil {
		return "", err
	}
	const most = 1500 - 28 // that the gateway takes
	for n := 0; n <= min(port.Info().MTU-28, most); n += 64 {
		if err := w.ping(uint16(n), n); err != nil {
			return "", fmt.Errorf("ping of %d bytes: %w", n, err)
		}
	}
	const rounds = 200
	begin := time.Now()
	for i := range uint16(rounds) {
		if err := w.ping(1000+i, 56); err != nil {
			return "", fmt.Errorf("ping %d: %w", i, err)
		}
	}
	fmt.Printf("selftest: FIGURE ping %.1f us\n", float64(time.Since(begin).Microseconds())/rounds)
	if err := w.flood(); err != nil {
		return "", err
	}
	i := port.Info()
	if err := port.Close(); err != nil {
		return "", err
	}
	if s := port.Stats(); s.SentErrors+s.ReceivedBad+s.ReceivedErrors != 0 {
		return "", fmt.Errorf("errors were counted: %+v", s)
	}
	return fmt.Sprintf("%s %v, MTU %d, %+v", i.Name, i.MAC, i.MTU, i.Take), nil
}

// openNIC opens the first network card that there is a driver for.
func openNIC(host device.Host) (link.Port, error) {
	log := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	for f := range pci.Functions(machine.PCI) {
		if _, ok := hostnic.Driver(f); ok {
			return hostnic.Open(host, f, "eth0", log)
		}
	}
	return nil, errors.New("there is no network card")
}

// linkUp waits for a link.
func (w *wire) linkUp() error {
	for {
		up, changed := w.port.Up()
		if up {
			return nil
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			return errors.New("there is no link")
		}
	}
}

// contents copies a frame.
func contents(mem device.Memory, f *link.Frame) []byte {
	b := bytes.Clone(f.Head)
	for _, s := range f.Segments {
		p := make([]byte, s.Len)
		mem.Page(s.Frame).Read(int(s.Off), p)
		b = append(b, p...)
	}
	return b
}

// frame makes one of bytes, in a page: its head, and pieces of at most size bytes.
func (w *wire) frame(b []byte, size int) (*link.Frame, error) {
	m, err := w.host.Alloc(0, mm.ZoneAny)
	if err != nil {
		return nil, err
	}
	page := w.host.Page(m)
	page.Write(100, b)
	head := min(len(b), 54)
	f := &link.Frame{Head: page.Bytes(100, head), HeadAt: link.Segment{Frame: m, Off: 100, Len: uint16(head)}}
	for at := head; at < len(b); at += size {
		f.Segments = append(f.Segments, link.Segment{Frame: m, Off: uint16(100 + at), Len: uint16(min(size, len(b)-at))})
	}
	f.Done = func(f *link.Frame) { w.done <- f }
	return f, nil
}

// send sends a frame, and waits until it is Done.
func (w *wire) send(b []byte) error {
	f, err := w.frame(b, max(100, len(b)/10))
	if err != nil {
		return err
	}
	w.port.Send([]*link.Frame{f})
	select {
	case f := <-w.done:
		w.host.Free(f.HeadAt.Frame, 0)
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("a frame of %d bytes is not Done; %+v", len(b), w.port.Stats())
	}
}

// wait returns the next frame that is looked for.
func (w *wire) wait(what string, is func(b []byte) bool) ([]byte, error) {
	limit := time.After(10 * time.Second)
	for {
		select {
		case b := <-w.came:
			if is(b) {
				return b, nil
			}
		case <-limit:
			return nil, fmt.Errorf("%s did not come; %+v", what, w.port.Stats())
		}
	}
}

func (w *wire) ethernet(to link.MAC, kind uint16) []byte {
	from := w.port.Info().MAC
	return binary.BigEndian.AppendUint16(append(append([]byte{}, to[:]...), from[:]...), kind)
}

// resolve asks for the gateway's address.
func (w *wire) resolve() error {
	mac := w.port.Info().MAC
	b := w.ethernet(link.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0x0806)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1)
	b = append(append(b, mac[:]...), ours[:]...)
	b = append(append(b, make([]byte, 6)...), gateway[:]...)
	if err := w.send(append(b, make([]byte, 60-len(b))...)); err != nil {
		return err
	}
	b, err := w.wait("the gateway's answer to ARP", func(b []byte) bool {
		return len(b) >= 42 && bytes.Equal(b[12:22], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 2}) && [4]byte(b[28:32]) == gateway
	})
	if err == nil {
		w.peer = link.MAC(b[22:28])
	}
	return err
}

// echo makes a ping with n bytes of data.
func (w *wire) echo(seq uint16, n int) []byte {
	be := binary.BigEndian
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i*7) ^ byte(seq)
	}
	icmp := be.AppendUint16([]byte{8, 0, 0, 0, 0x4e, 0x49}, seq)
	icmp = append(icmp, data...)
	be.PutUint16(icmp[2:], checksum(icmp))
	ip := be.AppendUint16([]byte{0x45, 0}, uint16(20+len(icmp)))
	ip = append(ip, 0, 0, 0x40, 0, 64, 1, 0, 0)
	ip = append(append(ip, ours[:]...), gateway[:]...)
	be.PutUint16(ip[10:], checksum(ip))
	return append(append(w.ethernet(w.peer, 0x0800), ip...), icmp...)
}

// ping sends one, and looks at what comes back.
func (w *wire) ping(seq uint16, n int) error {
	b := w.echo(seq, n)
	if err := w.send(b); err != nil {
		return err
	}
	got, err := w.wait("the answer", func(b []byte) bool {
		return len(b) >= 42+n && b[23] == 1 && b[34] == 0 && binary.BigEndian.Uint16(b[40:]) == seq
	})
	if err != nil {
		return err
	}
	if checksum(got[34:42+n]) != 0 || !bytes.Equal(got[42:42+n], b[42:]) {
		return fmt.Errorf("what came back is not what was sent: % x", got[:min(len(got), 64)])
	}
	return nil
}

// flood sends many at once, of which none may be lost: the gateway answers them all.
func (w *wire) flood() error {
	const rounds, batch = 10, 32
	begin := time.Now()
	for r := range rounds {
		var frames []*link.Frame
		for i := range batch {
			f, err := w.frame(w.echo(uint16(5000+r*batch+i), 1400), 1500)
			if err != nil {
				return err
			}
			frames = append(frames, f)
		}
		w.port.Send(frames)
		seen := map[uint16]bool{}
		for len(seen) < batch {
			b, err := w.wait(fmt.Sprintf("answer %d of %d at once", len(seen)+1, batch), func(b []byte) bool { return len(b) > 1400 && b[34] == 0 })
			if err != nil {
				return err
			}
			seen[binary.BigEndian.Uint16(b[40:])] = true
		}
		for range batch {
			f := <-w.done
			w.host.Free(f.HeadAt.Frame, 0)
		}
	}
	fmt.Printf("selftest: FIGURE ping-flood %.0f frames/s\n", 2*rounds*batch/time.Since(begin).Seconds())
	return nil
}

// checksum is the checksum of RFC 1071.
func checksum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i&1))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}
