package ipstack

import (
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"nidus/drivers/device/devicetest"
	"nidus/drivers/link"
	"nidus/drivers/link/pipe"
	"nidus/kernel/hostnet/endpoint"
)

// TestWindow: one that connects may send half of the receive buffer before somebody reads.
func TestWindow(t *testing.T) {
	const most = 256 << 10
	for name, tt := range map[string]struct {
		listen func(*Stack, uint16) (*gonet.TCPListener, error)
		want   int
	}{
		"usual": {(*Stack).ListenTCP, most / 2},
		"bulk":  {(*Stack).ListenBulk, BulkBuffer / 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := &devicetest.Host{}
			x, y := pipe.New(link.Info{MAC: link.MAC{2, 0, 0, 0, 0, 1}, MTU: 1500, Take: endpoint.Take},
				link.Info{MAC: link.MAC{2, 0, 0, 0, 0, 2}, MTU: 1500, Take: endpoint.Take})
			here := newStack(t, x, mem, "192.0.2.1/24", Options{MaxBuffer: most})
			there := newStack(t, y, mem, "192.0.2.2/24", Options{})
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
			c.SetWriteDeadline(time.Now().Add(time.Second))
			if n, err := c.Write(make([]byte, 8<<20)); err == nil {
				t.Fatalf("%d bytes were written though nobody reads", n)
			}
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
			if got > tt.want || got < tt.want*3/4 {
				t.Errorf("%d bytes arrived before somebody read, want %d", got, tt.want)
			}
		})
	}
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
