package netback_test

import (
	"strconv"
	"strings"
	"testing"

	"nidus/drivers/backend"
	"nidus/drivers/link"
	"nidus/drivers/netback"
)

// TestControl: what the control ring answers, and that frames go where the guest says.
func TestControl(t *testing.T) {
	g := newGuest(t)
	ctrl := connectControl(g)
	ask := func(kind int, a, b, c uint32) (status, data uint32) {
		t.Helper()
		r := make([]byte, 16)
		id := uint16(0x100 + kind)
		le.PutUint16(r, id)
		le.PutUint16(r[2:], uint16(kind))
		le.PutUint32(r[4:], a)
		le.PutUint32(r[8:], b)
		le.PutUint32(r[12:], c)
		ctrl.page.Write(64+int(ctrl.prod%128)*16, r)
		ctrl.prod++
		g.push(ctrl)
		g.until("an answer", func() bool { return ctrl.page.Load32(8) == ctrl.prod })
		ctrl.page.Read(64+int(ctrl.cons%128)*16, r)
		ctrl.cons++
		if le.Uint16(r) != id || le.Uint16(r[2:]) != uint16(kind) {
			t.Fatalf("the answer to %d is %x", kind, r)
		}
		return le.Uint32(r[4:]), le.Uint32(r[8:])
	}
	const key, table = 200, 201 // pages
	g.Page(key).Write(0, []byte("\x6d\x5a\x56\xda\x25\x5b\x0e\xc2\x41\x67\x25\x3d\x43\xa3\x8f\xb0\xd0\xca\x2b\xcb\xae\x7b\x30\xb4\x77\xcb\x2d\xa3\x80\x30\xf2\x0c\x6a\x42\xb7\x3b\xbe\xac\x01\xfa"))
	g.Page(table).Write(0, []byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0})
	for i, c := range []struct {
		kind         int
		a, b, c      uint32
		status, data uint32
	}{
		{kind: 0, status: 1}, {kind: 8, status: 1}, {kind: 65535, status: 1}, // INVALID, static grants, unknown
		{kind: 1, status: 1},        // types, without an algorithm
		{kind: 2, a: 1, status: 1},  // likewise
		{kind: 7, a: 2, status: 2},  // no such algorithm
		{kind: 7, a: 1},             // Toeplitz
		{kind: 1, data: 15},         // types
		{kind: 2, a: 16, status: 2}, // no such type
		{kind: 2, a: 15},            // all
		{kind: 3, a: key, b: 41, status: 3},
		{kind: 3, a: 4000, b: 40, status: 2},
		{kind: 3, a: 4000, b: 0}, // none
		{kind: 3, a: key, b: 40},
		{kind: 4, data: 128},
		{kind: 6, a: table, b: 1, status: 2}, // no table yet
		{kind: 5, a: 129, status: 2},
		{kind: 5, a: 2},
		{kind: 6, a: table, b: 1025, status: 3},
		{kind: 6, a: table, b: 3, status: 2},
		{kind: 6, a: table, b: 1 << 31, c: 1 << 31, status: 3},
		{kind: 6, a: table, b: 1, c: 2, status: 2},
		{kind: 6, a: table, b: 1, c: 1<<32 - 1, status: 2},
		{kind: 6, a: 4000, b: 1, status: 2},
		{kind: 6, a: table, b: 2},
	} {
		if status, data := ask(c.kind, c.a, c.b, c.c); status != c.status || data != c.data {
			t.Errorf("%d, %+v: status %d, data %d", i, c, status, data)
		}
	}
	g.Page(table).Store32(0, 2)
	if status, _ := ask(6, table, 1, 0); status != 2 {
		t.Errorf("queue 2 of 2: status %d", status)
	}

	// Addresses and ports of TestToeplitz, whose hash is even: queue 1 by the table.
	b := tcp(8)
	copy(b[26:], []byte{66, 9, 149, 187, 161, 142, 100, 80, 2794 >> 8, 2794 & 255, 1766 >> 8, 1766 & 255})
	done := 0
	to := func() string {
		g.port.Send([]*link.Frame{hostFrame(g, b, &done)})
		s := ""
		for k := range 2 {
			s += strconv.Itoa(int(g.Page(301 + 2*k).Load32(8)))
		}
		return s
	}
	if got := to(); got != "01" {
		t.Errorf("frames by the queues: %s", got)
	}
	ask(5, 0, 0, 0) // no table: modulo
	if got := to(); got != "11" {
		t.Errorf("frames by the queues: %s", got)
	}
}

// TestControlBreach: requests that leave the ring close the device.
func TestControlBreach(t *testing.T) {
	g := newGuest(t)
	ctrl := connectControl(g)
	ctrl.prod = 129
	g.push(ctrl)
	g.Await(backend.Closed)
	if l := g.lines(); strings.Contains(l, "\n") || !strings.Contains(l, "the control ring of 128 slots has requests up to 129") {
		t.Errorf("log %q", l)
	}
}

// connectControl connects with two queues, each with 8 pages to receive in, and a control
// ring, which it returns.
func connectControl(g *guest) *shared {
	g.begin(netback.Rate{})
	ctrl := &shared{page: g.Page(19), slot: 16}
	ctrl.page.Clear()
	ctrl.page.Store32(4, 1)
	ctrl.page.Store32(12, 1)
	nodes := map[string]string{"multi-queue-num-queues": "2", "tx-ring-ref": "", "rx-ring-ref": "", "event-channel-tx": "", "event-channel-rx": "",
		"ctrl-ring-ref": "19"}
	ports := []string{"event-channel-ctrl", "queue-0/event-channel", "queue-1/event-channel"}
	for i, name := range ports {
		port, err := g.D.Events.AllocUnbound(0)
		if err != nil {
			g.T.Fatal(err)
		}
		if i == 0 {
			ctrl.port = port
		}
		nodes[name] = strconv.Itoa(int(port))
	}
	g.offer(nodes)
	for i, name := range []string{"queue-0/tx-ring-ref", "queue-0/rx-ring-ref", "queue-1/tx-ring-ref", "queue-1/rx-ring-ref"} {
		g.Page(300 + i).Clear()
		g.Set(name, strconv.Itoa(300+i))
	}
	for k := range 2 {
		p := g.Page(301 + 2*k)
		for i := range 8 {
			p.Store32(64+8*i, uint32(i))
			p.Store32(64+8*i+4, uint32(firstData+8*k+i))
		}
		p.Store32(0, 8)
	}
	g.Set("state", "4")
	g.Await(backend.Connected)
	return ctrl
}
