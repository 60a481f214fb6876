package regress

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
)

// SeedVariable is the environment's variable whose number a regression that uses random
// numbers begins with, to repeat a run that failed.
const SeedVariable = "NIDUS_SEED"

// random returns random numbers, and what turns an error into one that says how to get
// the same numbers again.
func (t *T) random() (r *rand.Rand, seeded func(error) error, err error) {
	seed := rand.Uint64()
	if s := os.Getenv(SeedVariable); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			return nil, nil, fmt.Errorf("%s=%s has to be a number", SeedVariable, s)
		}
	}
	return rand.New(rand.NewPCG(seed, 0)), func(err error) error {
		if err != nil {
			err = fmt.Errorf("%s=%d: %w", SeedVariable, seed, err)
		}
		return err
	}, nil
}
