package debian

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// downloadForeign is download for a package of another architecture than this machine's:
// with lists of its own, so that nothing of the machine is changed. The package and the
// lists are in dir's folder of that name.
func downloadForeign(say io.Writer, dir, pkg, arch string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(dir, arch))
	if err != nil {
		return "", err
	}
	pattern := filepath.Join(dir, pkg+"_*.deb")
	if have, _ := filepath.Glob(pattern); len(have) > 0 {
		return have[len(have)-1], nil
	}
	fmt.Fprintf(say, "downloading Debian package: %s of %s\n", pkg, arch)
	apt := filepath.Join(dir, "apt")
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(apt, d), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(apt, "status"), nil, 0o644); err != nil {
		return "", err
	}
	run := func(args ...string) error {
		cmd := exec.Command("apt-get", append([]string{
			"-qq", "-o", "APT::Architecture=" + arch, "-o", "APT::Architectures::=" + arch, "-o", "APT::Sandbox::User=root",
			"-o", "Dir::State::lists=" + filepath.Join(apt, "lists"), "-o", "Dir::State::status=" + filepath.Join(apt, "status"),
			"-o", "Dir::Cache=" + filepath.Join(apt, "cache"),
		}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", args[0], err, bytes.TrimSpace(out))
		}
		return nil
	}
	// Lists of sources that have nothing of the package may fail to come.
	update := run("update")
	if err := run("download", pkg+":"+arch); err != nil {
		return "", errors.Join(update, err)
	}
	have, _ := filepath.Glob(pattern)
	if len(have) == 0 {
		return "", fmt.Errorf("apt-get download left no %s", pattern)
	}
	return have[len(have)-1], os.RemoveAll(apt)
}
