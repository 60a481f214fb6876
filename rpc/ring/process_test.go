package ring

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets this binary be the other program: with NIDUS_RING_REGION=FILE it is a
// client that echoes, until it is killed or its connection ends. A FILE that ends in
// .sock is a socket, for comparison.
func TestMain(m *testing.M) {
	if name := os.Getenv("NIDUS_RING_REGION"); name != "" {
		if err := echoProgram(name); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// patient is for programs that the machine may not run for a while.
const patient = 2 * time.Second

func echoProgram(name string) error {
	if strings.HasSuffix(name, ".sock") {
		c, err := net.Dial("unix", name)
		if err != nil {
			return err
		}
		fmt.Println("attached")
		echo(c)
		return c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := DialFile(ctx, name, Options{PeerTimeout: patient})
	if err != nil {
		return err
	}
	fmt.Println("attached")
	echo(c)
	return c.Close()
}

// region is a file, mapped here.
func regionFile(t testing.TB, size int) (name string, region []byte) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "region")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	region, err = syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(region) })
	return name, region
}

// program starts the other program and waits until it is attached.
func program(t testing.TB, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NIDUS_RING_REGION="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, _ := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(line) != "attached" {
		t.Fatalf("the other program says %q", line)
	}
	return cmd
}

// TestProgramIsKilled: another program is killed in the middle of traffic, twice; its
// successor finds the only slot free.
func TestProgramIsKilled(t *testing.T) {
	name, region := regionFile(t, Size(1, minRingSize))
	l := listen(t, region, Options{Slots: 1, RingSize: minRingSize, PeerTimeout: patient})
	for range 2 {
		cmd := program(t, name)
		c := accept(t, l)
		go io.Copy(io.Discard, c)
		b := make([]byte, call)
		for range 1000 {
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		cmd.Process.Kill()
		var err error
		for err == nil {
			_, err = c.Write(b)
		}
		if !errors.Is(err, ErrPeerReset) {
			t.Fatalf("%v, want ErrPeerReset", err)
		}
	}
}

// BenchmarkPrograms is BenchmarkCall with the echo in another program, which polls.
func BenchmarkPrograms(b *testing.B) {
	calls := func(b *testing.B, l net.Listener, name string) {
		program(b, name)
		c, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		m := make([]byte, call)
		b.ResetTimer()
		for range b.N {
			c.Write(m)
			if _, err := io.ReadFull(c, m); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("ring-poll", func(b *testing.B) {
		name, region := regionFile(b, Size(1, 256<<10))
		calls(b, listen(b, region, Options{Slots: 1}), name)
	})
	b.Run("unix", func(b *testing.B) {
		name := filepath.Join(b.TempDir(), "s.sock")
		l, err := net.Listen("unix", name)
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		calls(b, l, name)
	})
}
