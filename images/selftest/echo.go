//go:build tamago

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// echo sends 8 MiB through a TCP connection of gVisor's netstack and back.
func echo() (string, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
	})
	defer s.Close()
	ip := tcpip.AddrFrom4([4]byte{10, 0, 0, 1})
	if err := s.CreateNIC(1, loopback.New()); err != nil {
		return "", errors.New(err.String())
	}
	own := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: ip.WithPrefix()}
	if err := s.AddProtocolAddress(1, own, stack.AddressProperties{}); err != nil {
		return "", errors.New(err.String())
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	addr := tcpip.FullAddress{NIC: 1, Addr: ip, Port: 7}
	l, err := gonet.ListenTCP(s, addr, ipv4.ProtocolNumber)
	if err != nil {
		return "", err
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := gonet.DialTCP(s, addr, ipv4.ProtocolNumber)
	if err != nil {
		return "", err
	}
	defer c.Close()
	const size, piece = 8 << 20, 64 << 10
	sent := sha256.New()
	wrote := make(chan error, 1)
	begin := time.Now()
	go func() {
		buf := make([]byte, piece)
		for i := 0; i < size; i += piece {
			for k := range buf {
				buf[k] = byte(i>>12 + k*7 + k>>8)
			}
			sent.Write(buf)
			if _, err := c.Write(buf); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	got := sha256.New()
	if _, err := io.CopyN(got, c, size); err != nil {
		return "", err
	}
	if err := <-wrote; err != nil {
		return "", err
	}
	if [32]byte(got.Sum(nil)) != [32]byte(sent.Sum(nil)) {
		return "", errors.New("what came back differs from what was sent")
	}
	d := time.Since(begin)
	return fmt.Sprintf("%d MiB, %.1f MB/s, %d retransmits", size>>20, size/1e6/d.Seconds(), s.Stats().TCP.Retransmits.Value()), nil
}
