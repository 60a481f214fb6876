package regress

import (
	"errors"
	"fmt"
	"strings"
)

// The folder certs/ as a module, and what is in it.
const (
	certsModule    = "authorized certs"
	certsKeyModule = "host.key certs"
)

var (
	graphsKey     = "sha256:" + strings.Repeat("1f", 32)
	annaKey       = "sha256:" + strings.Repeat("2e", 32)
	authorizedOne = "read-only " + graphsKey + " graphs\n"
)

// clients keeps the list of who may connect over the network. It begins with what the
// module certs/authorized has, and nobody can read such modules.
func (r *remote) clients() error {
	list := func(want string) error {
		out, err := r.must("cert", "list", "--authorized")
		if err == nil && out != want {
			err = fmt.Errorf("out/xl cert list --authorized printed %q, want %q", out, want)
		}
		return err
	}
	if err := list(authorizedOne); err != nil {
		return err
	}
	modules, err := r.must("modules")
	if err == nil && (strings.Contains(modules, "authorized") || strings.Contains(modules, "host.key")) {
		err = fmt.Errorf("out/xl modules shows what is in certs/: %q", modules)
	}
	if err != nil {
		return err
	}
	if _, err := r.must("cert", "allow", annaKey, "anna"); err != nil {
		return err
	}
	return errors.Join(
		list("admin "+annaKey+" anna\n"+authorizedOne),
		r.refuses(1, `that key is client anna's already`, "cert", "allow", annaKey, "bob"),
		r.refuses(1, `there is no client "bob"`, "cert", "revoke", "bob"),
	)
}

// clientsStay tells whether the list outlived a control plane.
func (r *remote) clientsStay() error {
	out, err := r.must("cert", "list", "--authorized")
	if want := "admin " + annaKey + " anna\n" + authorizedOne; err == nil && out != want {
		return fmt.Errorf("out/xl cert list --authorized after the control plane was made anew: %q, want %q", out, want)
	}
	if err == nil {
		_, err = r.must("cert", "revoke", "graphs")
	}
	return err
}
