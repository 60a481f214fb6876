// Package debian gets what the build and its tests need from Debian's archive:
// packages to install on this machine, and files out of packages that are only
// downloaded. It drives apt-get and dpkg-deb, and says what it does.
package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Install installs those of the packages that are missing. It asks nothing.
func Install(say io.Writer, packages ...string) error {
	missing := Missing(packages...)
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("not a Debian machine (no apt-get): install by hand what these packages hold: %s", strings.Join(missing, " "))
	}
	fmt.Fprintln(say, "installing Debian packages:", strings.Join(missing, " "))
	if err := aptUpdate(); err != nil {
		return err
	}
	if err := asRoot(append([]string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"}, missing...)...); err != nil {
		return fmt.Errorf("cannot install %s: %w", strings.Join(missing, " "), err)
	}
	return nil
}

// Missing returns those of the packages that are not installed.
func Missing(packages ...string) []string {
	var missing []string
	for _, p := range packages {
		out, err := exec.Command("dpkg-query", "-W", "-f=${db:Status-Status}", p).Output()
		if err != nil || string(out) != "installed" {
			missing = append(missing, p)
		}
	}
	return missing
}

// File is a file of a package.
type File struct {
	// Package is a package's name, and after a colon its architecture if that is not the
	// machine's.
	Package string
	// Pattern is the file's path in the package as path.Match takes it,
	// without a leading slash.
	Pattern string
}

// Kernel is the package that Debian's current kernel for amd64 is in.
func Kernel() (string, error) {
	const meta = "linux-image-amd64"
	for range 2 {
		out, err := exec.Command("apt-cache", "depends", "--important", meta).Output()
		if err == nil {
			for line := range strings.Lines(string(out)) {
				if p, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok && strings.HasPrefix(p, "linux-image-") {
					return p, nil
				}
			}
		}
		if err := aptUpdate(); err != nil { // no lists yet
			return "", err
		}
	}
	return "", fmt.Errorf("apt-cache knows no kernel that %s depends on", meta)
}

// Fetch returns the bytes of a package's file. The package is downloaded into
// dir, once, and not installed; the file is kept beside it.
func Fetch(say io.Writer, dir string, f File) ([]byte, error) {
	deb, err := Download(say, dir, f.Package)
	if err != nil {
		return nil, err
	}
	kept := filepath.Join(deb+".files", strings.ReplaceAll(f.Pattern, "/", "_"))
	if data, err := os.ReadFile(kept); err == nil {
		return data, nil
	}
	data, err := unpack(deb, f.Pattern)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", deb, err)
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return nil, err
	}
	// By way of another name: half a file must not be found.
	if err := os.WriteFile(kept+".new", data, 0o644); err != nil {
		return nil, err
	}
	return data, os.Rename(kept+".new", kept)
}

// unpack returns the contents of a file in a package.
func unpack(deb, pattern string) ([]byte, error) {
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	data, err := find(out, pattern)
	io.Copy(io.Discard, out)
	if werr := cmd.Wait(); werr != nil && err != nil {
		err = errors.Join(fmt.Errorf("%w: %s", werr, bytes.TrimSpace(stderr.Bytes())), os.Remove(deb))
	}
	return data, err
}

// find returns the contents of the first file that matches.
func find(archive io.Reader, pattern string) ([]byte, error) {
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("no file %s in it", pattern)
		}
		if err != nil {
			return nil, err
		}
		if ok, err := path.Match(pattern, path.Clean(h.Name)); err != nil {
			return nil, err
		} else if ok && h.Typeflag == tar.TypeReg {
			return io.ReadAll(r)
		}
	}
}

// Download returns the path of a package's file in dir; it is downloaded once.
func Download(say io.Writer, dir, pkg string) (string, error) {
	deb, err := download(say, dir, pkg)
	if err != nil {
		err = fmt.Errorf("package %s: %w", pkg, err)
	}
	return deb, err
}

func download(say io.Writer, dir, pkg string) (string, error) {
	if name, arch, ok := strings.Cut(pkg, ":"); ok {
		return downloadForeign(say, dir, name, arch)
	}
	pattern := filepath.Join(dir, pkg+"_*.deb")
	if have, _ := filepath.Glob(pattern); len(have) > 0 {
		return have[len(have)-1], nil
	}
	fmt.Fprintln(say, "downloading Debian package:", pkg)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	get := func() error {
		cmd := exec.Command("apt-get", "download", "-qq", pkg)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("apt-get download: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	}
	if get() != nil { // the lists may be old or missing
		if err := aptUpdate(); err != nil {
			return "", err
		}
		if err := get(); err != nil {
			return "", err
		}
	}
	have, _ := filepath.Glob(pattern)
	if len(have) == 0 {
		return "", fmt.Errorf("apt-get download left no %s", pattern)
	}
	return have[len(have)-1], nil
}

func aptUpdate() error { return asRoot("apt-get", "update", "-qq") }

// asRoot runs a command as root, by sudo where that is needed.
func asRoot(args ...string) error {
	if os.Geteuid() != 0 {
		args = append([]string{"sudo"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = os.Stdin // sudo may want a password
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
