// Training of autoencoders of numbers (models/autoencoder.h): qn_pretrain hands over to it.
#pragma once
#include "quern.h"

qn_status qn_train_autoencoder(const qn_training *training, char **json);
