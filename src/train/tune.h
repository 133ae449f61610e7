// What the files of the search for settings share.
#pragma once
#include "train/finetune.h"

// The page of a search: trials as plots and as a table. seconds: spent so far; best: SIZE_MAX while there is none.
qn_status qn_tune_report(const qn_tuning *tuning, const qn_trial *trials, size_t count, size_t best, double seconds,
                         const char *path);
// "all", "embeddings frozen", "4 of 6 layers", "head alone": what a trial trains, of `layers` layers.
void qn_trial_depth(const qn_trial *trial, char *text, size_t size);
