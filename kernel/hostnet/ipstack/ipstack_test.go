package ipstack

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/link/pipe"
	"nidus/kernel/hostnet/endpoint"
)

// TestWindow: one that connects may send half of the receive buffer before somebody reads, and who accepts may
// write the send buffer's size more than the other side has room for.
func TestWindow(t *testing.T) {
	const most = 256 << 10
	for name, tt := range map[string]struct {
		listen func(*Stack, uint16) (*gonet.TCPListener, error)
		most   int
	}{
		"usual": {(*Stack).ListenTCP, most},
		"bulk":  {(*Stack).ListenBulk, BulkBuffer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := &devicetest.Host{}
			x, y := pipe.New(link.Info{MAC: link.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500, Take: endpoint.Take},
				link.Info{MAC: link.MAC{2, 0, 0, 0, 0, 2}, MTU: 1500, Take: endpoint.Take})
			here := newStack(t, x, mem, "192.0.2.1/24", Options{MaxBuffer: most})
			there := newStack(t, y, mem, "192.0.2.2/24", Options{MaxBuffer: most})
			l, err := tt.listen(here, 7)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tt.listen(here, 7); err == nil {
				t.Error("a port was listened at twice")
			}
			c, err := there.DialTCP(t.Context(), netip.Addr{}, netip.MustParseAddrPort("192.0.2.1:7"))
			if err != nil {
				t.Fatal(err)
			}
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if ahead, window := write(t, s), most/2; ahead < tt.most*3/4 || ahead > tt.most+window {
				t.Errorf("%d bytes were written before somebody read, want some %d, at most %d more", ahead, tt.most, window)
			}
			write(t, c)
			y.Close() // nothing more arrives
			got, buf := 0, make([]byte, 64<<10)
			s.SetReadDeadline(time.Now().Add(time.Second))
			for {
				n, err := s.Read(buf)
				got += n
				if err != nil {
					break
				}
			}
			if want := tt.most / 2; got > want || got < want*3/4 {
				t.Errorf("%d bytes arrived before somebody read, want %d", got, want)
			}
		})
	}
}

// write writes for a second, and returns how much the connection took.
func write(t *testing.T, c net.Conn) int {
	c.SetWriteDeadline(time.Now().Add(time.Second))
	n, err := c.Write(make([]byte, 8<<20))
	if err == nil {
		t.Fatalf("%d bytes were written though nobody reads", n)
	}
	return n
}

func newStack(t *testing.T, port link.Port, mem *devicetest.Host, address string, o Options) *Stack {
	s, err := New(port, mem, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Destroy)
	if err := s.Configure(Config{Address: netip.MustParsePrefix(address)}); err != nil {
		t.Fatal(err)
	}
	return s
}
