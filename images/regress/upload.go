package regress

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"nidus/images/builder"
)

// uploads creates domains whose kernel and ramdisk are files here.
func (r *remote) uploads() error {
	free, err := r.free()
	if err != nil {
		return err
	}
	local := []string{"kernel='local:" + r.t.Out("guest", builder.Vmlinux) + "'", "ramdisk='local:" + r.t.Out("guest", builder.Initrd) + "'"}
	create := func(name string, args ...string) error {
		_, err := r.must(append([]string{"create", "-q", filepath.Join(r.t.dir, "good.cfg"), "name=" + name}, args...)...)
		return err
	}
	if _, err := r.must("dmesg", "-c"); err != nil {
		return err
	}
	if err := create("up", local...); err != nil {
		return err
	}
	if err := r.consoleUntil("up", "NIDUS-GUEST-TICK 2"); err != nil {
		return err
	}
	// A domain of the same files finds them there, as long as the first one is. A
	// restart does so too.
	if err := create("again", append(local, "on_poweroff='restart'")...); err != nil {
		return err
	}
	if err := r.uploaded(2); err != nil {
		return err
	}
	if out, err := r.must("list", "-l", "up"); err != nil || !regexp.MustCompile(`"kernel": "upload:[0-9a-f]{32}/vmlinux"`).MatchString(out) {
		return fmt.Errorf("out/xl list -l: %v, %s", err, out)
	}
	for _, name := range []string{"up", "again"} {
		if err := r.without(name, 0); err != nil {
			return err
		}
	}
	if err := r.without("again", free); err != nil {
		return err
	}
	// They went with the last domain.
	if err := create("up", local...); err != nil {
		return err
	}
	if err := r.uploaded(4); err != nil {
		return err
	}
	if err := r.without("up", free); err != nil {
		return err
	}
	return errors.Join(r.badUploads(), r.killUpload(local[0], free))
}

// uploaded wants n uploads in the log.
func (r *remote) uploaded(n int) error {
	out, err := r.must("dmesg")
	if got := strings.Count(out, " uploaded: "); err == nil && got != n {
		err = fmt.Errorf("%d files were uploaded, not %d: %s", got, n, out)
	}
	return err
}

func (r *remote) badUploads() error {
	big := filepath.Join(r.t.dir, "big")
	if err := errors.Join(os.WriteFile(big, nil, 0o600), os.Truncate(big, 300<<20)); err != nil { // MiB of 1024
		return err
	}
	return errors.Join(
		r.refuses(1, `big has 307200 KiB; uploaded files may have \d+ MiB in all`, "create", "-q", "other.cfg", "kernel='local:"+big+"'"),
		r.refuses(1, `no such file`, "create", "-q", "other.cfg", "kernel='local:"+big+"x'"),
		r.refuses(1, `no regular file`, "create", "-q", "other.cfg", "kernel='local:"+r.t.dir+"'"),
		r.refuses(1, `good.cfg`, "create", "-q", "other.cfg", "kernel='local:"+filepath.Join(r.t.dir, "good.cfg")+"'"), // no kernel
	)
}

// killUpload kills a client in the midst of an upload: nothing of it stays.
func (r *remote) killUpload(kernel string, free int) error {
	const size = 100 << 20
	vmlinux, err := os.Stat(r.t.Out("guest", builder.Vmlinux))
	if err != nil {
		return err
	}
	ramdisk := filepath.Join(r.t.dir, "ramdisk")
	if err := errors.Join(os.WriteFile(ramdisk, nil, 0o600), os.Truncate(ramdisk, size)); err != nil {
		return err
	}
	if _, err := r.must("dmesg", "-c"); err != nil {
		return err
	}
	cmd := r.command("create", "-q", "other.cfg", kernel, "ramdisk='local:"+ramdisk+"'")
	if err := cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(r.t.within(time.Minute)); ; time.Sleep(50 * time.Millisecond) {
		now, err := r.free()
		if err != nil {
			return err
		}
		if now < free-int(vmlinux.Size()>>20)-10 && r.uploaded(1) == nil { // the kernel is there, and some of the ramdisk
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d MiB are free of %d, and no kernel was uploaded", now, free)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	cmd.Wait() // killed
	if err := r.without("other", free); err != nil {
		return fmt.Errorf("client killed in an upload: %w", err)
	}
	return nil
}
